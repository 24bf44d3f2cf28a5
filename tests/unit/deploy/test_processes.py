"""Every container of Treadle has settings that load, a command that there is, and time to end."""

import re
import shlex

import typer
from tests.unit.deploy.parts import Process, image_environment, instructions
from typer.core import TyperGroup
from typer.main import get_command

from treadle import server
from treadle.cli.main import app
from treadle.queues import rabbitmq
from treadle.runner import worker
from treadle.settings import Settings
from treadle.telemetry import instruments
from treadle.vault import load_keys


def treadle_names(process: Process) -> dict[str, str]:
    return {name: value for name, value in process.environment.items() if name.startswith("TREADLE_")}


def test_there_are_such(processes: list[Process]) -> None:
    assert {process.name for process in processes} == {
        *("upgrade", "api1", "api2", "worker", "prune"),
        *("treadle-upgrade/upgrade", "treadle-api/api", "treadle-worker/worker", "treadle-worker/prune"),
        "treadle-prune/prune",
    }


def test_every_setting_is_one_and_loads(processes: list[Process]) -> None:
    known = {name for name, _, _ in Settings.table()}
    for process in processes:
        own = treadle_names(process)
        assert own.keys() <= known, process.name
        assert all(isinstance(value, str) for value in own.values()), f"{process.name}: quote numbers"
        settings = Settings.load(own)
        assert settings.database_url is not None
        assert settings.broker_url is not None
        assert str(settings.blob_url).startswith("s3://")
        assert load_keys(settings), "the key is shared, not made in each container"
        assert settings.operations_port == int(image_environment()["TREADLE_OPERATIONS_PORT"])


def test_all_that_must_be_shared_is(processes: list[Process]) -> None:
    shared = ("SECRET_KEY", "DATABASE_URL", "BROKER_URL", "BLOB_URL", "S3_ENDPOINT", "PUBLIC_URL", "DRAIN_SECONDS")
    for way in ("compose", "kubernetes"):
        ours = [process for process in processes if ("/" in process.name) == (way == "kubernetes")]
        for name in shared:
            assert len({process.environment[f"TREADLE_{name}"] for process in ours}) == 1, (way, name)


def test_only_workers_get_the_keys_of_models(processes: list[Process]) -> None:
    for process in processes:
        keys = {"TREADLE_CLAUDE_API_KEY", "TREADLE_KIMI_API_KEY"} & process.environment.keys()
        assert process.is_worker == bool(keys), process.name


def test_workers_have_walls_and_memory(processes: list[Process]) -> None:
    workers = [process for process in processes if process.is_worker]
    assert len(workers) == 2
    for process in workers:
        assert process.environment["TREADLE_SANDBOX"] == "bubblewrap"
        mounts = {mount["mountPath"] for mount in process.raw.get("volumeMounts", ())}
        assert "shm_size" in process.raw or "/dev/shm" in mounts


def test_every_command_is_one(processes: list[Process]) -> None:
    for process in processes:
        if process.arguments is not None:
            parse(process.arguments)
            continue
        found = re.findall(r"\btreadle ([^;&|]+)", process.script)
        assert found, process.script
        for line in found:
            parse(shlex.split(line))


def parse(arguments: "list[str] | tuple[str, ...] | object") -> None:
    """Fails for a command or option that there is not."""
    assert isinstance(arguments, list), arguments
    command, rest = get_command(app), list(arguments)
    context = typer.Context(command)
    while isinstance(command, TyperGroup):
        assert rest, f"{arguments} names a group only"
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name} in {arguments}"
        command = found
    command.make_context("treadle", rest).close()


def test_there_is_time_to_end_in_good_order(processes: list[Process]) -> None:
    for process in processes:
        if not process.is_long_lived:
            continue
        settings = Settings.load(treadle_names(process))
        needed = server.GRACEFUL_SECONDS + rabbitmq.FLUSH_SECONDS + instruments.FLUSH_SECONDS
        if process.is_worker:
            needed += settings.drain_seconds + worker.LATE_SECONDS
        before = process.raw.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ("", "0"))
        assert grace(process) > needed + float(before[1]), process.name


def grace(process: Process) -> float:
    if process.pod:
        return float(process.pod["terminationGracePeriodSeconds"])
    return float(str(process.raw["stop_grace_period"]).removesuffix("s"))


def test_nobody_is_root_or_may_become_it(processes: list[Process]) -> None:
    (user,) = [rest for name, rest in instructions() if name == "USER"]
    assert user.split(":")[0].isdigit(), "a number, so that Kubernetes sees that it is not root"
    assert int(user.split(":")[0]) > 0
    for process in processes:
        if process.pod:
            assert process.pod["securityContext"]["runAsNonRoot"] is True
            assert process.pod["securityContext"]["runAsUser"] == int(user.split(":")[0])
            assert process.pod["automountServiceAccountToken"] is False
            own = process.raw["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
        else:
            assert process.raw["cap_drop"] == ["ALL"]
            assert "no-new-privileges:true" in process.raw["security_opt"]
            assert "privileged" not in process.raw


def test_what_they_write_is_on_a_volume_of_the_image(processes: list[Process]) -> None:
    data = image_environment()["TREADLE_DATA_DIR"]
    for process in processes:
        if process.raw.get("securityContext", {}).get("readOnlyRootFilesystem"):
            mounts = [mount["mountPath"] for mount in process.raw["volumeMounts"]]
            assert any(data.startswith(f"{mount}/") for mount in mounts), process.name
            assert "/tmp" in mounts, process.name
