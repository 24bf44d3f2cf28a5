"""What the engines would run, without running it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.engine_calls import make_call

from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.errors import EngineRefused
from treadle.engines.claude import ClaudeEngine
from treadle.engines.kimi import KimiEngine
from treadle.ports import Engine, Layout

LAYOUT = Layout(Path("/workspace"), Path("/home/agent"), Path("/config"), Path("/files"))
CLAUDE = ClaudeEngine(Path("/opt/claude"), "/opt/tools")
KIMI = KimiEngine(("/opt/node", "/opt/kimi/node_modules/@vendor/kimi/dist/main.mjs"), "/opt/tools")
LICENSE = OAuthLicense("access-canary", "refresh-canary", datetime(2030, 1, 1, tzinfo=UTC), ("user:inference",), "max")
SECRETS = ("sk-ant-api03-canary", "access-canary", "refresh-canary")

CREDENTIALS = [
    EngineCredential(api_key="sk-ant-api03-canary"),
    EngineCredential(ClaudeSource.CLIENT_LICENSE, license=LICENSE),
    EngineCredential(ClaudeSource.CLIENT_LICENSE, license=replace(LICENSE, refresh_token=None)),
]


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_claude_has_no_secret_in_argv_environment_stdin_or_repr(credential: EngineCredential) -> None:
    found = CLAUDE.command(make_call(LAYOUT, credential=credential))
    seen = f"{found.argv} {found.environment} {found.stdin!r} {found!r}"
    assert not [secret for secret in SECRETS if secret in seen]
    assert [secret for secret in SECRETS if secret.encode() in b"".join(found.files.values())]


def test_kimi_has_no_secret_in_argv_or_repr() -> None:
    found = KIMI.command(make_call(LAYOUT))
    assert "canary" not in f"{found.argv} {found!r}"
    assert found.environment["KIMI_MODEL_API_KEY"] == "sk-ant-api03-canary"


def test_kimi_refuses_a_license() -> None:
    with pytest.raises(EngineRefused):
        KIMI.command(make_call(LAYOUT, credential=CREDENTIALS[1]))


@pytest.mark.parametrize("engine", [CLAUDE, KIMI])
def test_the_environment_is_whole(engine: Engine) -> None:
    found = engine.command(make_call(LAYOUT)).environment
    assert {"PATH": "/opt/tools", "HOME": "/home/agent", "LANG": "C.UTF-8"}.items() <= found.items()


def test_claude_begins_and_resumes() -> None:
    call = make_call(LAYOUT)
    begun = CLAUDE.command(call).argv
    assert begun[begun.index("--session-id") + 1] == str(call.new_session)
    resumed = CLAUDE.command(replace(call, session="abc")).argv
    assert resumed[resumed.index("--resume") + 1] == "abc"
    assert "--session-id" not in resumed


def test_claude_address_and_model() -> None:
    found = CLAUDE.command(make_call(LAYOUT, endpoint="https://models.example/claude", model="opus"))
    assert found.environment["ANTHROPIC_BASE_URL"] == "https://models.example/claude"
    assert found.argv[found.argv.index("--model") + 1] == "opus"
    assert "ANTHROPIC_BASE_URL" not in CLAUDE.command(make_call(LAYOUT)).environment


def test_what_a_sandbox_must_show() -> None:
    assert CLAUDE.command(make_call(LAYOUT)).readable == (Path("/opt/claude"),)
    assert KIMI.command(make_call(LAYOUT)).readable == (Path("/opt/node"), Path("/opt/kimi/node_modules"))


def test_session_files_are_below_the_configuration() -> None:
    layout = replace(LAYOUT, work_tree=Path("/var/lib/x_y/re.po"))
    assert CLAUDE.session_files(layout, "abc")[0] == "projects/-var-lib-x-y-re-po/abc.jsonl"
    assert KIMI.session_files(layout, "session_1") == ("sessions/*/session_1/**/*",)
