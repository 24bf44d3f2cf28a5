"""Claude Code: what to run for a phase, and where its conversation is."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from treadle.domain.credentials import EngineCredential
from treadle.domain.run import EngineName
from treadle.engines import structured
from treadle.engines.claude_stream import ClaudeReader
from treadle.engines.search_path import SEARCH_PATH
from treadle.ports import EngineCall, Invocation, Layout

#: Below the configuration directory.
_CREDENTIALS, _KEY, _MEMORY, _SETTINGS = ".credentials.json", ".key", "CLAUDE.md", "settings.json"

#: Hands the key over on descriptor 3 and removes its file before the CLI starts: in the CLI's environment every tool
#: of the agent would inherit it, and `env` would print it. A here-document is a pipe, empty once it has been read.
_WITH_KEY = 'IFS= read -r key <"$1" && rm -f -- "$1" && shift && exec "$@" 3<<END\n$key\nEND\n'

#: Tools that make no sense in a call that ends with its answer, or that leave the work tree.
_UNWANTED_TOOLS = ("EnterWorktree", "ExitWorktree", "CronCreate", "CronDelete", "CronList", "ScheduleWakeup")
_WRITING_TOOLS = ("Edit", "NotebookEdit", "Write")

#: Where the repository tells agents about itself.
_MEMORIES = ("CLAUDE.md", ".claude/CLAUDE.md", "AGENTS.md")

_ENVIRONMENT: Mapping[str, str] = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "1",  # the runner retries, and knows when not to
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True, slots=True)
class ClaudeEngine:
    """The Claude CLI at `cli`. `search_path`: the PATH of the CLI and of the agent's tools."""

    cli: Path
    search_path: str = SEARCH_PATH
    name = EngineName.CLAUDE

    def command(self, call: EngineCall) -> Invocation:
        """The prompt goes in on stdin: it has no length that argv would limit."""
        argv = (str(self.cli), *_arguments(call))
        # None of the agent's: settings that an earlier call's agent wrote could send the credential elsewhere.
        files = {_SETTINGS: b"{}", _MEMORY: _memory(call.layout) if call.reads_rule_files else b"", _CREDENTIALS: b"{}"}
        environment = {
            "PATH": self.search_path,
            "HOME": str(call.layout.home),
            "CLAUDE_CONFIG_DIR": str(call.layout.config),
            "CLAUDE_CODE_TMPDIR": str(call.layout.config / "tmp"),  # the outputs of tools, erased with the rest
            "LANG": "C.UTF-8",
            "USER": "treadle",
            **_ENVIRONMENT,
            **_address(call.endpoint),
        }
        key, variable = _key(call.credential)
        if key is not None:
            files[_KEY] = f"{key}\n".encode()
            # The host's routing counts, and none that a settings file names.
            environment |= {variable: "3", "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1"}
            argv = ("/bin/sh", "-c", _WITH_KEY, "sh", str(call.layout.config / _KEY), *argv)
        prompt = _prompt(call.prompt)
        return Invocation(argv=argv, environment=environment, stdin=prompt, files=files, readable=(self.cli,))

    def reader(self, call: EngineCall) -> ClaudeReader:
        return ClaudeReader(self.name, is_structured=call.is_structured, session=call.session)

    def session_files(self, layout: Layout, session: str) -> Sequence[str]:
        """The transcript, and the long outputs that it refers to."""
        folder = f"projects/{re.sub('[^A-Za-z0-9]', '-', str(layout.work_tree))}"
        return (f"{folder}/{session}.jsonl", f"{folder}/{session}/tool-results/*")


def _arguments(call: EngineCall) -> list[str]:
    """The flags of a call. Nothing that the repository brings is loaded as settings, hooks or MCP servers: they could
    name another address for the API, and so be sent the credential, or forbid the work."""
    unwanted = _UNWANTED_TOOLS + (_WRITING_TOOLS if call.is_read_only else ())
    arguments = [
        *("-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"),
        *("--setting-sources=user", "--strict-mcp-config", f"--disallowedTools={','.join(unwanted)}"),
        *(("--resume", call.session) if call.session else ("--session-id", str(call.new_session))),
    ]
    if call.model is not None:
        arguments += ("--model", call.model)
    if call.is_structured:
        arguments += ("--json-schema", json.dumps(structured.SCHEMA))
    return arguments


def _prompt(prompt: str) -> bytes:
    """A prompt that begins with a slash would be taken for one of the CLI's commands, and answered without a model."""
    return f"\n{prompt}".encode() if prompt.startswith("/") else prompt.encode()


def _memory(layout: Layout) -> bytes:
    return "".join(f"@{layout.work_tree / name}\n" for name in _MEMORIES).encode()


def _address(endpoint: str | None) -> dict[str, str]:
    """`http(s)://…`, or `unix:///path` of a socket that speaks plain HTTP."""
    if endpoint is None:
        return {}
    parts = urlsplit(endpoint)
    if parts.scheme == "unix":
        return {"ANTHROPIC_UNIX_SOCKET": parts.path, "ANTHROPIC_BASE_URL": "http://localhost"}
    return {"ANTHROPIC_BASE_URL": endpoint}


def _key(credential: EngineCredential) -> tuple[str | None, str]:
    """What is handed over by descriptor, and the variable that names it. A license's refresh token never is: the
    gateway renews it."""
    if credential.api_key is not None:
        return credential.api_key, "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR"
    if credential.license is not None:
        return credential.license.access_token, "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR"
    return None, ""
