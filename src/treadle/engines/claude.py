"""Claude Code: what to run for a phase, and where its conversation and its renewed tokens are."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from treadle.domain.credentials import EngineCredential, OAuthLicense
from treadle.domain.run import EngineName, Usage
from treadle.engines import structured
from treadle.engines.claude_stream import ClaudeReader
from treadle.engines.lines import as_count, as_object, as_text, decode
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
        elif call.credential.license is not None:
            files[_CREDENTIALS] = _credentials(call.credential.license)
        prompt = _prompt(call.prompt)
        return Invocation(argv=argv, environment=environment, stdin=prompt, files=files, readable=(self.cli,))

    def reader(self, call: EngineCall) -> ClaudeReader:
        return ClaudeReader(self.name, is_structured=call.is_structured, session=call.session)

    def session_files(self, layout: Layout, session: str) -> Sequence[str]:
        """The transcript, and the long outputs that it refers to."""
        folder = f"projects/{re.sub('[^A-Za-z0-9]', '-', str(layout.work_tree))}"
        return (f"{folder}/{session}.jsonl", f"{folder}/{session}/tool-results/*")

    def refreshed(
        self, credential: EngineCredential, config_files: Callable[[str], bytes | None]
    ) -> EngineCredential | None:
        """The tokens that the CLI renewed. When its refresh is refused it empties the file: those are no tokens."""
        old = credential.license
        found = as_object((decode(config_files(_CREDENTIALS) or b"") or {}).get("claudeAiOauth"))
        access, refresh = as_text(found.get("accessToken")), as_text(found.get("refreshToken"))
        if old is None or not access or (access, refresh or None) == (old.access_token, old.refresh_token):
            return None
        return replace(
            credential,
            license=replace(
                old,
                access_token=access,
                refresh_token=refresh or old.refresh_token,
                expires_at=_moment(as_count(found.get("expiresAt"))),
            ),
        )

    def spent(
        self,
        since: datetime,  # noqa: ARG002 - the stream's last line says it
        config_files: Callable[[str], Iterable[bytes]],  # noqa: ARG002 - nor is a file needed
    ) -> Usage | None:
        return None


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
    """What is handed over by descriptor, and the variable that names it. A license that can be renewed is not: the CLI
    renews it in a file."""
    if credential.api_key is not None:
        return credential.api_key, "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR"
    if credential.license is not None and credential.license.refresh_token is None:
        return credential.license.access_token, "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR"
    return None, ""


def _credentials(license: OAuthLicense) -> bytes:  # noqa: A002 - the word for it
    expires_at = license.expires_at or datetime(2100, 1, 1, tzinfo=UTC)  # not known: until the API refuses it
    return json.dumps(
        {
            "claudeAiOauth": {
                "accessToken": license.access_token,
                "refreshToken": license.refresh_token,
                "expiresAt": round(expires_at.timestamp() * 1000),
                "scopes": list(license.scopes or ("user:inference", "user:profile")),
                "subscriptionType": license.subscription_type,
            }
        }
    ).encode()


def _moment(milliseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
    except (ValueError, OverflowError, OSError):
        return None
