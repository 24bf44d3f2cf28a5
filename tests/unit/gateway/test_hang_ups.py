"""Who goes away before an answer has ended pays for it all the same: what the API counts, or never less."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator

import pytest
from tests.support.claude_accounts import ClaudeAccounts
from tests.support.deployment import StillClock
from tests.support.gateway_runs import PATIENCE_SECONDS, Ledger, Opened, connect, open_gateway, opened
from tests.support.model_script import Block, Drop, Fail, Raw, Wait, say
from tests.support.model_server import ModelServer

from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.prices import LIST_PRICES, PriceTable, Tokens
from treadle.domain.run import EngineName
from treadle.gateway import counting, dialect, door, exchange, line
from treadle.gateway.anthropic import Anthropic
from treadle.gateway.billing import Bill, Prices, Tally
from treadle.gateway.dialect import MAX_INPUT, PICTURE_TOKENS, Prepared
from treadle.gateway.gateway import Gateway
from treadle.gateway.upstream import Sent
from treadle.ports.gateway import ModelAnswer

pytestmark = pytest.mark.anyio

PATHS = {EngineName.CLAUDE: "/v1/messages", EngineName.KIMI: "/v1/chat/completions"}
BODY = {"model": "claude-sonnet-4-5", "max_tokens": 8000, "messages": [{"role": "user", "content": "x" * 500}]}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is outside of tests."""
    monkeypatch.setattr(door, "UNREAD_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def may_go() -> Iterator[threading.Event]:
    """What holds the model back; never beyond the test."""
    event = threading.Event()
    yield event
    event.set()


async def hang_up(run: Opened, engine: EngineName = EngineName.CLAUDE, *, after: bytes) -> None:
    """In the middle of a stream, once so much of it has come."""
    found = b""
    async with run.http.stream("POST", PATHS[engine], json={**BODY, "stream": True}) as answer:
        async for piece in answer.aiter_raw():
            found += piece
            if after in found:
                return
    raise AssertionError(found)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("engine", [EngineName.CLAUDE, EngineName.KIMI])
async def test_who_has_read_enough_pays_what_the_server_counts(
    gateway: Gateway, model: ModelServer, may_go: threading.Event, engine: EngineName
) -> None:
    """Thoughts that are not shown, and whatever else came later, only the API's own count knows."""
    blocks: list[Block | str] = ["the useful part", Wait(may_go), "the rest"]
    model.play([say(*blocks, input_tokens=70, output_tokens=4321)])
    async with opened(gateway, engine=engine) as run:
        await hang_up(run, engine, after=b"part")
        may_go.set()
        await run.account.until_charged(1)
    (charged,) = run.account.charged
    assert (charged.tokens, charged.is_estimated) == (Tokens(70, 4321), False)
    assert len(await asyncio.to_thread(model.wait_for_reports, 1)) == 1


@pytest.mark.usefixtures("patient")
async def test_so_does_who_waits_for_no_answer_in_one_piece(
    run: Opened, model: ModelServer, may_go: threading.Event
) -> None:
    model.play([say(Wait(may_go), "all of it", input_tokens=70, output_tokens=4321)])
    asked = asyncio.create_task(run.http.post("/v1/messages", json=BODY))
    await asyncio.to_thread(model.wait_for_turns, 1)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    may_go.set()
    await run.account.until_charged(1)
    assert (run.account.charged[0].tokens, run.account.charged[0].is_estimated) == (Tokens(70, 4321), False)


@pytest.mark.usefixtures("patient")
async def test_so_does_who_reads_no_further(run: Opened, model: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stays, and nothing is taken from it."""
    monkeypatch.setattr(line, "CLIENT_SECONDS", 0.2)
    model.play([say("x" * 4_000_000, output_tokens=4321)])
    body = json.dumps({**BODY, "stream": True}).encode()
    _, writer = await connect(run.door)
    try:
        writer.write(run.head("POST /v1/messages HTTP/1.1", f"Content-Length: {len(body)}") + body)
        await run.account.until_charged(1)
    finally:
        writer.transport.abort()
    assert (run.account.charged[0].tokens.output, run.account.charged[0].is_estimated) == (4321, False)


async def test_an_answer_that_goes_on_too_long_is_cut_and_charged_by_its_bytes(
    run: Opened, model: ModelServer, may_go: threading.Event
) -> None:
    model.play([say("é" * 3000, Wait(may_go), input_tokens=70, output_tokens=1)])
    await hang_up(run, after=b"content_block_stop")
    await run.account.until_charged(1)
    (charged,) = run.account.charged
    assert (charged.tokens.input, charged.is_estimated) == (70, True)
    assert 6000 <= charged.tokens.output <= 8000
    assert charged.cost_usd == pytest.approx(LIST_PRICES["claude-sonnet-4"].of(charged.tokens))


@pytest.mark.usefixtures("patient")
async def test_nor_is_more_read_of_it_than_so_many_bytes(
    run: Opened, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_UNREAD_BYTES", 1_000_000)
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def pieces() -> Iterator[bytes]:
        try:
            while not model.is_stopping:
                yield b"data: {}\n\n" * 1000
        finally:
            loop.call_soon_threadsafe(ended.set)

    model.play([Raw(pieces())])
    await hang_up(run, after=b"data")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ended.wait()
    await run.account.until_charged(1)
    assert run.account.charged[0].is_estimated


@pytest.mark.usefixtures("patient")
async def test_a_runs_end_waits_for_no_count(gateway: Gateway, model: ModelServer, may_go: threading.Event) -> None:
    """It would hold up a kill."""
    model.play([say("x" * 3000, Wait(may_go), input_tokens=70, output_tokens=1)])
    async with asyncio.timeout(PATIENCE_SECONDS), opened(gateway) as run:
        await hang_up(run, after=b"content_block_stop")
    (charged,) = run.account.charged
    assert charged.is_estimated
    assert charged.tokens.output >= 3000


@pytest.mark.usefixtures("patient")
async def test_who_leaves_before_the_model_is_asked_is_gone_at_once(
    run: Opened, model: ModelServer, may_go: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits for room in the budget; its place is the next one's."""
    permit, is_waiting = run.account.permit, asyncio.Event()

    async def tell(under_way_usd: float = 0.0) -> bool:
        if under_way_usd:
            is_waiting.set()
        return await permit(under_way_usd)

    monkeypatch.setattr(door, "MAX_REQUESTS", 2)
    monkeypatch.setattr(run.account, "permit", tell)
    run.account.limit_usd = 0.001
    model.play([say(Wait(may_go), "x")])
    first = asyncio.create_task(run.ask())
    await asyncio.to_thread(model.wait_for_turns, 1)
    second = asyncio.create_task(run.ask())
    await is_waiting.wait()
    assert (await run.http.get("/v1/models")).status_code == 429
    second.cancel()
    assert any([(await run.http.get("/v1/models")).is_success for _ in range(100)])
    may_go.set()
    assert (await first).is_success
    assert len(model.turns) == len(run.account.charged) == 1


@pytest.mark.usefixtures("patient")
async def test_nothing_is_asked_for_who_has_gone(model: ModelServer) -> None:
    """While a license that the API refused is renewed."""
    held = OAuthLicense("sk-ant-oat01-old", "sk-ant-ort01-old", None, (), "max")
    account = Ledger(EngineCredential(ClaudeSource.CLIENT_LICENSE, license=held))
    model.play(lambda request: Fail(401, "no") if str(request.credential).endswith("old") else say("ok"))
    with ClaudeAccounts() as accounts:
        accounts.may_answer.clear()
        settings = {"claude_base_url": model.url, "claude_token_url": accounts.url}
        async with open_gateway(**settings) as gateway, opened(gateway, account) as run:
            asked = asyncio.create_task(run.ask())
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not accounts.asked:  # noqa: ASYNC110 - a server's thread fills it
                    await asyncio.sleep(0.01)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            assert (await run.http.get("/nothing")).status_code == 404, "by now the gateway has seen it leave"
            accounts.may_answer.set()
            assert (await run.ask()).is_success
    credentials = [request.credential for request in model.requests]
    assert credentials.count(f"Bearer {accounts.issued[0][0]}") == 1, "of the later request"


async def test_an_answer_that_never_came_to_a_renewed_license_costs_what_was_asked(model: ModelServer) -> None:
    """The refusal before it was for nothing, and not the last word."""
    held = OAuthLicense("sk-ant-oat01-old", "sk-ant-ort01-old", None, (), "max")
    account = Ledger(EngineCredential(ClaudeSource.CLIENT_LICENSE, license=held))
    model.play([Fail(401, "no"), Drop()])
    with ClaudeAccounts() as accounts:
        settings = {"claude_base_url": model.url, "claude_token_url": accounts.url}
        async with open_gateway(**settings) as gateway, opened(gateway, account) as run:
            assert (await run.http.post("/v1/messages", json=BODY)).status_code == 502
    (charged,) = account.charged
    assert (charged.status, charged.is_estimated) == (0, True)
    assert charged.tokens.input >= 500


async def unseen(*, is_stream: bool, answered: bool = True, most_output: int = 32_000) -> ModelAnswer:
    """Ten seconds before the API is asked, ten until it last says something, ten of silence, and then nothing."""
    clock, account, sent = StillClock(), Ledger(), Sent()
    bill = Bill(account, Prices(PriceTable.over_list({})))
    prepared = Prepared(b"{}", "claude-sonnet-4-5", is_stream, Tokens(input=500), most_output)
    tally = Tally(bill, clock, prepared, sent, Anthropic().meter(prepared.most_input, is_stream=False))
    clock.advance(10)
    tally.asks()
    sent.has_reached = True
    clock.advance(10)
    if answered:
        tally.answered(200, Anthropic().meter(prepared.most_input, is_stream=is_stream))
        tally.feed(b'data: {"type": "ping"}\n\n' if is_stream else b"{")
    clock.advance(10)
    tally.settle()
    await bill.close()
    (charged,) = account.charged
    assert charged.is_estimated
    assert charged.tokens.input == 500
    return charged


async def test_thoughts_that_nobody_saw_are_charged_by_the_time_that_they_took() -> None:
    each = counting.TOKENS_PER_SECOND
    assert (await unseen(is_stream=True)).tokens.output == 10 * each
    assert (await unseen(is_stream=False)).tokens.output == 20 * each
    assert (await unseen(is_stream=False, answered=False)).tokens.output == 20 * each
    assert (await unseen(is_stream=True, answered=False)).tokens.output == 0, "it says when it begins"
    assert (await unseen(is_stream=False, most_output=700)).tokens.output == 700, "the API holds to that"


def most_input(**body: object) -> Tokens:
    return dialect.prepare(Anthropic(), json.dumps(body).encode()).most_input


def test_a_request_that_nobody_counted_has_no_more_tokens_than_bytes() -> None:
    size = len('{"text":""}')
    assert most_input(text="") == Tokens(input=size)
    assert most_input(text="é" * 1000) == Tokens(input=size + 2000)
    assert most_input(text="x" * (MAX_INPUT + 1)) == Tokens(input=MAX_INPUT)


def test_pictures_and_documents_may_have_more_than_their_bytes() -> None:
    picture = {"type": "base64", "media_type": "image/png", "data": "aaaa"}
    assert 2 * PICTURE_TOKENS < most_input(parts=[picture, picture]).input < 2 * PICTURE_TOKENS + 200
    assert most_input(url="data:image/png;base64,aaaa").input > PICTURE_TOKENS
    assert most_input(parts=[{**picture, "media_type": "application/pdf"}]) == Tokens(input=MAX_INPUT)
    assert most_input(text=json.dumps({"media_type": "image/png", "media_type2": "application/pdf"})).input < 100


def test_what_would_be_written_to_a_cache_is_priced_so() -> None:
    minutes = most_input(system=[{"text": "x" * 100, "cache_control": {"type": "ephemeral"}}])
    assert (minutes.input, minutes.hour_write) == (0, 0)
    assert minutes.cache_write > 100
    hour = most_input(system=[{"text": "x" * 100, "cache_control": {"type": "ephemeral", "ttl": "1h"}}])
    assert hour.hour_write == hour.cache_write > 100


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 60, "n": 3}, 180),
        ({"max_tokens": 50, "n": 10**9}, 50 * dialect.MAX_ANSWERS),
        ({"max_tokens": 50, "n": True}, 50),
        ({"max_tokens": 10**9}, dialect.MAX_OUTPUT),
        ({}, dialect.MAX_OUTPUT),
    ],
)
def test_the_most_that_an_answer_may_have(body: dict[str, object], most: int) -> None:
    assert dialect.prepare(Anthropic(), json.dumps(body).encode()).most_output == most


async def test_who_hangs_up_without_reading_pays(run: Opened, model: ModelServer, may_go: threading.Event) -> None:
    model.play(lambda _: say(Wait(may_go), "x"))
    body = json.dumps(BODY).encode()
    for number in range(3):
        _, writer = await connect(run.door)
        writer.write(run.head("POST /v1/messages HTTP/1.1", f"Content-Length: {len(body)}") + body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        await asyncio.to_thread(model.wait_for_turns, number + 1)
        writer.transport.abort()
    await run.account.until_charged(3)
    assert all(charged.is_estimated and charged.tokens.input >= 500 for charged in run.account.charged)
