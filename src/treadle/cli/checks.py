"""The checks of `treadle doctor`. Each tries the real thing, within seconds, and changes nothing."""

import asyncio
import os
import platform
import re
import shutil
from collections.abc import Coroutine, Mapping, Sequence
from typing import Final

from treadle import command
from treadle.cli import machine, reach, sandbox_checks
from treadle.cli.findings import Check, Level
from treadle.domain.errors import ConfigurationError
from treadle.domain.run import EngineName
from treadle.engines.location import find_claude, find_kimi
from treadle.scratch import scratch_directory
from treadle.settings import Settings
from treadle.vault import KEY_FILE, load_keys
from treadle.version import __version__
from treadle.workspace.workspaces import SHARED_MEMORY

#: Older ones lack options that the workspaces use.
OLDEST_GIT: Final = (2, 37)

_CLI_SECONDS: Final = 30.0
_GIT_SECONDS: Final = 10.0

_VERSION: Final = re.compile(r"\d+(?:\.\d+)+\S*")


def check_settings(environment: Mapping[str, str]) -> tuple[Check, Settings | None]:
    """The settings themselves, without which nothing else can be checked."""
    try:
        settings = Settings.load(environment)
    except ConfigurationError as error:
        return Check("settings", Level.PROBLEM, error.message, error.hint), None
    count = len(settings.model_fields_set - {"engine_path", "git_environment", "sandbox_environment"})
    return Check(
        "settings", Level.OK, f"{count} set in the environment" if count else "all at their defaults"
    ), settings


def checks_of(settings: Settings, environment: Mapping[str, str]) -> Sequence[Coroutine[object, object, Check]]:
    """Every other check."""
    path = environment.get("PATH", os.defpath)
    return (
        _python(),
        _git(path),
        _ssh(path),
        sandbox_checks.walls(settings),
        sandbox_checks.limits(settings),
        _cli("claude", _argv_of_claude(settings), settings),
        _cli("kimi", find_kimi(settings), settings),
        _keys(settings),
        machine.data_dir(settings),
        _sealing_key(settings),
        machine.memory(SHARED_MEMORY),
        reach.database(settings),
        reach.broker(settings),
        reach.blobs(settings),
        reach.sharing(settings),
        machine.port("port", settings.host, settings.port),
        machine.port("operations", settings.operations_host, settings.operations_port),
        machine.clock(),
    )


async def _python() -> Check:
    return Check("python", Level.OK, f"{platform.python_version()}, treadle {__version__}")


async def _git(path: str) -> Check:
    where = shutil.which("git", path=path)
    hint = f"Install Git {'.'.join(map(str, OLDEST_GIT))} or newer."
    if where is None:
        return Check("git", Level.PROBLEM, "not found", hint)
    said = await _output((where, "--version"), {"PATH": path}, _GIT_SECONDS)
    match = re.search(r"(\d+)\.(\d+)\S*", said)
    if match is None:
        return Check("git", Level.PROBLEM, f"{where} does not tell its version: {said}", hint)
    is_old = (int(match[1]), int(match[2])) < OLDEST_GIT
    return Check("git", Level.PROBLEM if is_old else Level.OK, f"{match[0]} at {where}", hint)


async def _ssh(path: str) -> Check:
    missing = [name for name in ("ssh", "ssh-agent", "ssh-add") if shutil.which(name, path=path) is None]
    if missing:
        hint = "Install OpenSSH's client for repositories with an SSH address."
        return Check("ssh", Level.WARNING, f"not found: {', '.join(missing)}", hint)
    return Check("ssh", Level.OK, "ssh, ssh-agent and ssh-add are there")


def _argv_of_claude(settings: Settings) -> tuple[str, ...] | None:
    found = find_claude(settings)
    return (str(found),) if found is not None else None


async def _cli(name: str, argv: tuple[str, ...] | None, settings: Settings) -> Check:
    hint = f"Install it, or set TREADLE_{name.upper()}_CLI, to use the engine {name.capitalize()}."
    if argv is None:
        return Check(name, Level.WARNING, "not found", hint)
    where = argv[-1]
    with scratch_directory() as home:
        environment = {"PATH": settings.engine_path, "HOME": str(home), "CI": "1"}
        try:
            done = await command.run((*argv, "--version"), environment=environment, seconds=_CLI_SECONDS)
        except command.CommandError as error:
            return Check(name, Level.PROBLEM, f"{where}: {error.message}", hint)
    said = done.stdout.decode(errors="replace").strip() or done.stderr.strip()
    match = _VERSION.search(said)
    if done.exit_code != 0 or match is None:
        last = said.splitlines()[-1] if said else f"exit code {done.exit_code}"
        return Check(name, Level.PROBLEM, f"{where} does not tell its version: {last}", hint)
    return Check(name, Level.OK, f"{match[0]} at {where}")


async def _keys(settings: Settings) -> Check:
    keys = {EngineName.CLAUDE: settings.claude_api_key, EngineName.KIMI: settings.kimi_api_key}
    said = ", ".join(f"{name} {'set' if key is not None else 'not set'}" for name, key in keys.items())
    if any(keys.values()):
        return Check("keys", Level.OK, said)
    hint = "Runs must bring their own; or set TREADLE_CLAUDE_API_KEY, TREADLE_KIMI_API_KEY. Dummy needs none."
    return Check("keys", Level.WARNING, said, hint)


async def _sealing_key(settings: Settings) -> Check:
    given = (settings.secret_key, settings.secret_key_file, settings.secret_key_command)
    is_given = any(each is not None for each in given)
    if not is_given and not (settings.data_dir / KEY_FILE).exists():
        return Check("sealing key", Level.OK, "made at the first start")
    try:
        await asyncio.to_thread(load_keys, settings)
    except ConfigurationError as error:
        return Check("sealing key", Level.PROBLEM, error.message, error.hint)
    return Check("sealing key", Level.OK, "from the settings" if is_given else str(settings.data_dir / KEY_FILE))


async def _output(argv: Sequence[str], environment: Mapping[str, str], seconds: float) -> str:
    try:
        done = await command.run(argv, environment=environment, seconds=seconds)
    except command.CommandError as error:
        return error.message
    return done.stdout.decode(errors="replace").strip()
