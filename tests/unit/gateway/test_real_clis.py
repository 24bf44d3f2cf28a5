"""The real CLIs in front of the gateway, as their engines call them: they have a token, the scripted model sees the
key."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue
from tests.support.claude_accounts import ClaudeAccounts
from tests.support.clis import require_claude, require_kimi
from tests.support.engine_calls import Finished, make_call, make_layout, run_call, written
from tests.support.gateway_runs import KEY, Ledger, Opened, open_gateway, opened
from tests.support.model_script import Fail, Thinking, ToolUse, bash, say, structured, usage_limit, write
from tests.support.model_server import ModelServer

from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.errors import (
    EngineAuthenticationFailed,
    EngineError,
    EngineFailed,
    EngineRefused,
    UsageLimitReached,
)
from treadle.domain.events import EventType
from treadle.domain.prices import Tokens
from treadle.domain.run import EngineName
from treadle.engines.claude import ClaudeEngine
from treadle.engines.kimi import KimiEngine
from treadle.gateway.gateway import Gateway
from treadle.ports import Engine, Layout

pytestmark = pytest.mark.anyio

ANSWER: dict[str, JsonValue] = {
    "output": "Done.",
    "thinking": "Easy.",
    "wasSuccessful": True,
    "didGenerateCode": True,
    "isAdditionalWorkRequiredToContinue": False,
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_layout(tmp_path)


@pytest.fixture
async def gateway(model: ModelServer) -> AsyncIterator[Gateway]:
    with ClaudeAccounts() as accounts:
        settings = {
            "claude_base_url": model.url,
            "kimi_base_url": model.openai_url,
            "claude_token_url": accounts.url,
        }
        async with open_gateway(**settings) as found:
            yield found


def license_of(expires_at: datetime, refresh_token: str | None = None) -> EngineCredential:
    held = OAuthLicense("sk-ant-oat01-REAL-canary", refresh_token, expires_at, ("user:inference",), "max")
    return EngineCredential(ClaudeSource.CLIENT_LICENSE, license=held)


async def call(run: Opened, engine: Engine, layout: Layout, *, is_structured: bool = False) -> Finished:
    """With the run's token in the place of whatever credential the account holds."""
    token = run.door.token
    held = run.account.held
    inside = EngineCredential(
        api_key=token if held.license is None else None,
        license=OAuthLicense(token) if held.license is not None else None,
    )
    path = "/v1" if engine.name is EngineName.KIMI else ""
    asked = make_call(
        layout,
        endpoint=f"http://127.0.0.1:{run.door.door.port}{path}",
        credential=inside,
        is_structured=is_structured,
        model=None if engine.name is EngineName.CLAUDE else "kimi-k2-turbo-preview",
    )
    return await asyncio.to_thread(run_call, engine, asked)


def found_inside(layout: Layout, done: Finished) -> list[str]:
    """Where a real credential is, in what the CLI wrote and said."""
    places = [str(path) for path, text in written(layout.config.parent) if b"REAL-canary" in text]
    return places + ["output"] * ("REAL-canary" in str(done.lines) + done.stderr)


@pytest.mark.claude
@pytest.mark.parametrize("is_license", [False, True])
async def test_claude_does_its_job(gateway: Gateway, model: ModelServer, layout: Layout, *, is_license: bool) -> None:
    engine = ClaudeEngine(require_claude())
    target = layout.work_tree / "hello.py"
    turns = [
        say(Thinking("Hm."), "I will.", write(str(target), "print(6 * 7)\n"), input_tokens=10, cache_write_tokens=90),
        say(bash("python3 hello.py; env; cat /proc/$PPID/environ"), cache_read_tokens=90),
        say("42", input_tokens=7, output_tokens=3),
    ]
    model.play(turns)
    held = license_of(datetime.now(UTC) + timedelta(hours=1)) if is_license else None
    account = Ledger(held) if held is not None else Ledger()
    async with opened(gateway, account, on_loopback=True) as run:
        done = await call(run, engine, layout)
        token = run.door.token
    assert done.outcome.error is None
    assert done.outcome.output == "42"
    assert target.read_text() == "print(6 * 7)\n"
    assert done.texts(EventType.TOOL_STARTED, "tool") == ["Write", "Bash"]
    real = "Bearer sk-ant-oat01-REAL-canary" if is_license else f"x-api-key {KEY}"
    assert {request.credential for request in model.turns} == {real}
    assert all(("oauth-2025-04-20" in request.headers["anthropic-beta"]) is is_license for request in model.turns)
    assert not found_inside(layout, done)
    assert token not in str([dict(request.headers) for request in model.requests])
    assert [answer.tokens for answer in account.charged] == [
        Tokens(10, 20, 0, 90),
        Tokens(100, 20, 90),
        Tokens(7, 3),
    ]
    assert sum((answer.tokens for answer in account.charged), Tokens()).all_input == done.outcome.usage.input_tokens
    assert not any(answer.is_estimated for answer in account.charged)


@pytest.mark.claude
@pytest.mark.parametrize("is_license", [False, True])
async def test_claudes_structured_output(
    gateway: Gateway, model: ModelServer, layout: Layout, *, is_license: bool
) -> None:
    model.play([say(structured({"output": 1})), say(structured(ANSWER))])
    account = Ledger(license_of(datetime.now(UTC) + timedelta(hours=1))) if is_license else Ledger()
    async with opened(gateway, account, on_loopback=True) as run:
        done = await call(run, ClaudeEngine(require_claude()), layout, is_structured=True)
    answer = done.outcome.structured_output
    assert answer is not None
    assert (answer.output, answer.was_successful, answer.did_generate_code) == ("Done.", True, True)
    assert len(account.charged) == 2


@pytest.mark.claude
@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Fail(401, "invalid x-api-key"), EngineAuthenticationFailed),
        (Fail(404, "no such model"), EngineRefused),
        (Fail(400, "Your credit balance is too low to access the Anthropic API."), EngineRefused),
        (Fail(500, "oops"), EngineFailed),
    ],
)
async def test_errors_mean_to_claude_what_they_mean_without_it(
    gateway: Gateway, model: ModelServer, layout: Layout, failure: Fail, error: type[EngineError]
) -> None:
    model.play(lambda _: failure)
    async with opened(gateway, on_loopback=True) as run:
        done = await call(run, ClaudeEngine(require_claude()), layout)
        assert {answer.status for answer in run.account.charged} == {failure.status}
        assert run.account.spent_usd == 0
    assert type(done.outcome.error) is error


@pytest.mark.claude
async def test_a_licenses_usage_limit_still_says_when_it_resets(
    gateway: Gateway, model: ModelServer, layout: Layout
) -> None:
    resets = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    model.play([usage_limit(int(resets.timestamp()))])
    async with opened(gateway, Ledger(license_of(resets)), on_loopback=True) as run:
        done = await call(run, ClaudeEngine(require_claude()), layout)
    assert isinstance(done.outcome.error, UsageLimitReached)
    assert done.outcome.error.resets_at == resets


@pytest.mark.claude
async def test_a_license_is_renewed_and_claude_sees_nothing_of_it(
    gateway: Gateway, model: ModelServer, layout: Layout
) -> None:
    model.play([say("ok")])
    ended = license_of(datetime.now(UTC) - timedelta(hours=1), refresh_token="sk-ant-ort01-REAL-canary")
    async with opened(gateway, Ledger(ended), on_loopback=True) as run:
        done = await call(run, ClaudeEngine(require_claude()), layout)
        ((_, new),) = run.account.renewals
    assert done.outcome.error is None
    assert new.license is not None
    assert [request.credential for request in model.turns] == [f"Bearer {new.license.access_token}"]
    assert not [path for path, text in written(layout.config) if new.license.access_token.encode() in text]
    assert not found_inside(layout, done)


@pytest.mark.claude
async def test_a_passed_budget_is_tried_no_further_by_claude(
    gateway: Gateway, model: ModelServer, layout: Layout
) -> None:
    model.play(lambda _: say(bash("true"), output_tokens=1000))
    async with opened(gateway, Ledger(limit_usd=0.0), on_loopback=True) as run:
        done = await call(run, ClaudeEngine(require_claude()), layout)
        assert (len(run.account.charged), run.account.permits) == (1, 3)
    assert isinstance(done.outcome.error, EngineRefused)
    assert "This run has cost what it may" in done.outcome.error.message


@pytest.mark.kimi
async def test_kimi_does_its_job(gateway: Gateway, model: ModelServer, layout: Layout) -> None:
    target = layout.work_tree / "hello.py"
    turns = [
        say("I will.", ToolUse("Write", {"path": str(target), "content": "print(6 * 7)\n"}), cache_read_tokens=60),
        say(bash("python3 hello.py; env; cat /proc/$PPID/environ")),
        say(json.dumps(ANSWER), input_tokens=7, output_tokens=3),
    ]
    model.play(turns)
    async with opened(gateway, engine=EngineName.KIMI, on_loopback=True) as run:
        done = await call(run, KimiEngine(require_kimi().command), layout, is_structured=True)
        charged = run.account.charged
    assert done.outcome.error is None
    assert done.outcome.output == "Done."
    assert target.read_text() == "print(6 * 7)\n"
    assert {request.credential for request in model.turns} == {f"Bearer {KEY}"}
    assert not found_inside(layout, done)
    assert [answer.tokens for answer in charged] == [Tokens(40, 20, 60), Tokens(100, 20), Tokens(7, 3)]


@pytest.mark.kimi
@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Fail(401, "Invalid Authentication"), EngineAuthenticationFailed),
        (Fail(429, "You exceeded your current token quota"), UsageLimitReached),
        (Fail(404, "no such model"), EngineRefused),
        (Fail(500, "oops"), EngineFailed),
    ],
)
async def test_errors_mean_to_kimi_what_they_mean_without_it(
    gateway: Gateway, model: ModelServer, layout: Layout, failure: Fail, error: type[EngineError]
) -> None:
    model.play(lambda _: failure)
    async with opened(gateway, engine=EngineName.KIMI, on_loopback=True) as run:
        done = await call(run, KimiEngine(require_kimi().command), layout)
    assert type(done.outcome.error) is error
    assert failure.message in str(done.outcome.error)


@pytest.mark.kimi
async def test_a_passed_budget_is_tried_no_further_by_kimi(
    gateway: Gateway, model: ModelServer, layout: Layout
) -> None:
    model.play(lambda _: say(bash("true"), output_tokens=1000))
    async with opened(gateway, Ledger(limit_usd=0.0), engine=EngineName.KIMI, on_loopback=True) as run:
        done = await call(run, KimiEngine(require_kimi().command), layout)
        assert (len(run.account.charged), run.account.permits) == (1, 3)
    assert isinstance(done.outcome.error, EngineRefused)
    assert "This run has cost what it may" in done.outcome.error.message
