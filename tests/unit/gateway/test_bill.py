"""What is charged: what the model API has counted, once for each request that reached it."""

import asyncio
import contextlib
import json
import random
import threading
from collections.abc import Iterator

import httpx2
import pytest
from structlog.testing import capture_logs
from tests.support.gateway_runs import KEY, PATIENCE_SECONDS, Ledger, Opened, open_gateway, opened
from tests.support.model_script import (
    Block,
    Drop,
    Fail,
    Hang,
    ModelRequest,
    Raw,
    Say,
    Stall,
    Thinking,
    ToolUse,
    Turn,
    bash,
    say,
)
from tests.support.model_server import ModelServer

from treadle.domain.errors import LeaseLost
from treadle.domain.prices import LIST_PRICES, Tokens
from treadle.domain.run import EngineName
from treadle.gateway import billing
from treadle.gateway.gateway import Gateway

pytestmark = pytest.mark.anyio

MODELS = {EngineName.CLAUDE: "claude-sonnet-4-5", EngineName.KIMI: "kimi-k2-turbo-preview"}
PATHS = {EngineName.CLAUDE: "/v1/messages", EngineName.KIMI: "/v1/chat/completions"}


def randomly(seed: int, engine: EngineName) -> Say:
    """Only one of the APIs tells what it wrote to a cache; the other is asked to search by calls of a tool."""
    dice = random.Random(seed)
    blocks: list[Block | str] = [Thinking("hm " * dice.randrange(50)), "é" * dice.randrange(3000), bash("ls")]
    read, searches, written = dice.randrange(1000), dice.choice([0, 0, 1, 3]), dice.randrange(1000)
    chosen = dice.sample(blocks, dice.randrange(1, 4))
    if engine is EngineName.KIMI:
        chosen += [ToolUse("$web_search", {"query": "x"})] * searches
        written = 0
    return say(
        *chosen,
        input_tokens=read + dice.randrange(10_000),
        output_tokens=dice.randrange(1, 5000),
        cache_read_tokens=read,
        cache_write_tokens=written,
        hour_write_tokens=dice.randrange(written + 1),
        searches=searches,
    )


def told(turn: Say, engine: EngineName) -> Tokens:
    """As the four kinds exclude each other: one API has what it read from the cache in its input."""
    cached = turn.cache_read_tokens
    apart = turn.input_tokens - (cached if engine is EngineName.KIMI else 0)
    return Tokens(apart, turn.output_tokens, cached, turn.cache_write_tokens, turn.hour_write_tokens, turn.searches)


@pytest.mark.parametrize("engine", [EngineName.CLAUDE, EngineName.KIMI])
async def test_the_bill_is_the_servers_own_count(gateway: Gateway, model: ModelServer, engine: EngineName) -> None:
    seeds = iter(range(10_000))
    model.play(lambda _: randomly(next(seeds), engine))
    model.piece_bytes = 37
    async with opened(gateway, engine=engine) as run:

        async def ask(number: int) -> None:
            answer = await run.ask(PATHS[engine], stream=number % 2 == 0, model=MODELS[engine])
            assert answer.is_success

        for start in range(0, 200, 8):
            await asyncio.gather(*(ask(number) for number in range(start, start + 8)))
    charged = run.account.charged
    assert len(charged) == len(model.reported) == 200
    assert run.account.tokens == sum((told(turn, engine) for turn in model.reported), Tokens())
    assert sorted(map(str, (answer.tokens for answer in charged))) == sorted(
        str(told(turn, engine)) for turn in model.reported
    )
    price = LIST_PRICES["claude-sonnet-4" if engine is EngineName.CLAUDE else "kimi-k2-turbo"]
    assert run.account.spent_usd == pytest.approx(price.of(run.account.tokens))
    assert run.account.tokens.tool_requests > 50
    assert (run.account.tokens.hour_write > 10_000) == (engine is EngineName.CLAUDE)
    assert {(answer.status, answer.is_estimated, answer.model) for answer in charged} == {(200, False, MODELS[engine])}


async def test_writing_to_a_cache_counts(run: Opened, model: ModelServer) -> None:
    model.play(lambda _: say("x", input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4))
    await run.ask()
    await run.ask(stream=True)
    assert [answer.tokens for answer in run.account.charged] == [Tokens(1, 2, 3, 4)] * 2


async def test_it_is_on_the_bill_before_the_client_can_ask_again(run: Opened) -> None:
    """Also where the account takes its time: a budget holds for the very next request."""
    allowed = asyncio.Event()
    run.account.before_charge = allowed.wait
    run.account.limit_usd = 0.0
    assert (await run.ask(stream=True)).is_success
    later = asyncio.create_task(run.ask(stream=True))
    await asyncio.sleep(0.05)
    assert not later.done()
    allowed.set()
    assert (await later).status_code == 402
    assert len(run.account.charged) == 1


async def test_an_answer_in_one_piece_is_on_the_bill_before_its_end(run: Opened, model: ModelServer) -> None:
    """The client has all it needs with the last byte; the connection's own end may come much later."""
    may_end = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b'{"model": "claude-sonnet-4-5", '
        yield b'"usage": {"input_tokens": 5, "output_tokens": 6}}'
        may_end.wait(PATIENCE_SECONDS)

    model.play([Raw(pieces(), {"Content-Type": "application/json"})])
    found = b""
    body = {"model": "claude-sonnet-4-5", "messages": []}
    async with run.http.stream("POST", "/v1/messages", json=body) as answer:
        pieces_back = answer.aiter_raw()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                found += await anext(pieces_back)
                found += await anext(pieces_back)
        assert not found.endswith(b"}}")
        may_end.set()
    await run.account.until_charged(1)


async def test_a_budget_that_is_passed_ends_it(run: Opened, model: ModelServer) -> None:
    run.account.limit_usd = 0.0
    assert (await run.ask()).is_success
    answer = await run.ask()
    assert (answer.status_code, answer.json()["error"]["type"]) == (402, "billing_error")
    assert answer.json()["error"]["message"] == "This run has cost what it may. Give it more."
    assert (await run.http.get("/v1/models")).status_code == 402
    assert len(model.requests) == len(run.account.charged) == 1


@pytest.mark.parametrize("engine", [EngineName.CLAUDE, EngineName.KIMI])
@pytest.mark.parametrize("stream", [True, False])
async def test_who_hangs_up_pays_once(
    gateway: Gateway, model: ModelServer, engine: EngineName, *, stream: bool
) -> None:
    """At random places; and the API is hung up on, so that it stops."""
    dice = random.Random(7)
    delta = {"text": "hello", "content": "hello"}
    said = {"type": "content_block_delta", "delta": delta, "choices": [{"delta": delta}]}
    piece = b"data: %b\n\n" % json.dumps(said).encode()
    turns: list[Turn] = [say("x" * 5000), say("x", Stall()), Hang(), Raw([piece] * 20, pause_seconds=0.002)]
    model.play(lambda _: dice.choice(turns))
    rounds = 0

    def reached() -> int:
        return sum(request.body is not None for request in model.requests)  # else it broke off before its body

    async with opened(gateway, engine=engine) as run:
        # A busy machine takes longer to get anywhere.
        while rounds < 40 or reached() <= 5 or not any(answer.is_estimated for answer in run.account.charged):
            rounds += 1
            body = {"model": MODELS[engine], "stream": stream, "messages": [{"role": "user", "content": "x" * 999}]}
            with contextlib.suppress(httpx2.HTTPError, TimeoutError):
                async with asyncio.timeout(dice.random() * 0.15 * max(1.0, rounds / 40)):
                    async with run.http.stream("POST", PATHS[engine], json=body) as answer:
                        async for _ in answer.aiter_raw():
                            pass
    # Of one that broke off while it was sent, the server knows nothing.
    assert reached() <= len(run.account.charged) <= rounds
    assert all(answer.cost_usd > 0 and answer.tokens.all_input > 0 for answer in run.account.charged)


async def test_what_was_said_before_the_end_is_estimated(
    run: Opened, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(billing, "TOKENS_PER_SECOND", 0)  # a slow machine gives the model time to think unseen
    model.play([say("x" * 3000, Stall(), input_tokens=50, output_tokens=0, cache_read_tokens=5), Drop()])
    async with run.http.stream("POST", "/v1/messages", json={"model": "claude-opus-4-5", "stream": True}) as answer:
        found = b""
        async for piece in answer.aiter_raw():
            found += piece
            if found.count(b"content_block_delta") == 4:  # its name and its type, of two
                break
    await run.account.until_charged(1)
    (charged,) = run.account.charged
    assert charged.tokens == Tokens(50, 3000, 5)
    assert (charged.is_estimated, charged.model) == (True, "claude-opus-4-5")
    assert charged.cost_usd == pytest.approx(LIST_PRICES["claude-opus-4-5"].of(charged.tokens))
    assert (await run.ask(model="claude-opus-4-5", text="x" * 1000)).status_code == 502
    dropped = run.account.charged[1]
    assert dropped.status == 0
    assert dropped.is_estimated
    assert dropped.tokens.input > 1000
    assert dropped.tokens.output <= 99


async def test_a_stream_that_breaks_off_before_it_begins_costs_nothing(run: Opened, model: ModelServer) -> None:
    model.play([Drop(), Drop()])
    for _ in range(2):
        async with run.http.stream("POST", "/v1/messages", json={"model": "claude-opus-4-5", "stream": True}) as answer:
            assert answer.status_code == 502
    await run.account.until_charged(2)
    assert [(a.status, a.tokens, a.cost_usd) for a in run.account.charged] == [(0, Tokens(), 0.0)] * 2


async def test_errors_cost_nothing_and_are_charged_with_their_status(run: Opened, model: ModelServer) -> None:
    model.play([Fail(529, "busy"), Fail(400, "no"), Fail(302, headers={"Location": "https://example.org/"})])
    for _ in range(3):
        await run.ask()
    assert [(a.status, a.tokens, a.cost_usd, a.is_estimated) for a in run.account.charged[:2]] == [
        (529, Tokens(), 0.0, False),
        (400, Tokens(), 0.0, False),
    ]
    assert run.account.charged[0].model == "claude-sonnet-4-5"
    assert len(run.account.charged) == 3


async def test_a_stream_that_ends_too_early_is_estimated(run: Opened, model: ModelServer) -> None:
    model.play(
        [Raw([b"data: {\n\n", b"event: error\ndata: [1]\n\n"]), Raw([b"{}"], {"Content-Type": "application/json"})]
    )
    assert (await run.ask(stream=True)).is_success
    assert (await run.ask()).text == "{}"
    await run.account.until_charged(2)
    assert [answer.is_estimated for answer in run.account.charged] == [True, True]
    assert all(answer.cost_usd > 0 for answer in run.account.charged)


async def test_closing_waits_for_the_bill(gateway: Gateway, model: ModelServer) -> None:
    model.play(lambda _: Hang())
    async with opened(gateway) as run:
        run.account.before_charge = lambda: asyncio.sleep(0.1)
        asked = [asyncio.create_task(run.ask()) for _ in range(5)]
        await asyncio.to_thread(model.wait_for_turns, 5)
    assert len(run.account.charged) == 5
    assert all(isinstance(error, httpx2.HTTPError) for error in await asyncio.gather(*asked, return_exceptions=True))


async def test_closing_waits_no_longer_than_it_may(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "CLOSE_SECONDS", 0.05)
    async with opened(gateway) as run:
        run.account.before_charge = asyncio.Event().wait
        await run.ask()
    assert not run.account.charged


async def test_closing_that_is_cancelled_still_charges(gateway: Gateway, model: ModelServer) -> None:
    model.play(lambda _: Hang())
    account, is_open = Ledger(), asyncio.Event()

    async def serve() -> None:
        async with opened(gateway, account) as run:
            account.before_charge = lambda: asyncio.sleep(0.1)
            asked = asyncio.create_task(run.ask())
            is_open.set()
            try:
                await asked
            finally:
                asked.cancel()

    serving = asyncio.create_task(serve())
    await is_open.wait()
    await asyncio.to_thread(model.wait_for_turns, 1)
    serving.cancel()
    await asyncio.sleep(0.02)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await account.until_charged(1)
    assert len(account.charged) == 1


async def test_many_at_once_pass_a_budget_by_one_answer(run: Opened, model: ModelServer) -> None:
    """What is under way counts with the most that it may cost; alone, a request always goes."""
    model.play(lambda _: say("x", input_tokens=20, output_tokens=90))
    price = await run.ask()
    assert price.is_success
    each = run.account.spent_usd
    run.account.limit_usd = 4.5 * each
    answers = await asyncio.gather(*(run.ask() for _ in range(20)))
    assert [answer.status_code for answer in answers].count(200) == 4
    assert run.account.spent_usd == pytest.approx(5 * each), "by less than one answer"


async def test_requests_with_room_for_all_go_at_once(run: Opened, model: ModelServer) -> None:
    model.play(lambda _: Hang())
    run.account.limit_usd = 100.0
    asking = [asyncio.create_task(run.ask()) for _ in range(8)]
    try:
        await asyncio.to_thread(model.wait_for_turns, 8)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_a_run_that_cannot_be_billed_may_not_spend(run: Opened, model: ModelServer) -> None:
    def fail() -> None:
        raise LeaseLost("another worker has it")

    run.account.before_charge = fail
    assert (await run.ask()).is_success
    assert (await run.ask()).status_code == 503
    assert len(model.requests) == 1


async def test_a_model_without_a_price_costs_what_the_dearest_does(run: Opened, model: ModelServer) -> None:
    model.play(lambda _: say("x", input_tokens=10, output_tokens=0))
    with capture_logs() as logs:
        for _ in range(3):
            await run.ask(model="unheard-of")
    dearest = max(price.input for price in LIST_PRICES.values())
    assert run.account.spent_usd == pytest.approx(3 * 10 * dearest / 1e6)
    assert [line["model"] for line in logs if line["log_level"] == "warning"] == ["unheard-of"]


async def test_the_operators_prices_count(model: ModelServer) -> None:
    prices = '{"claude-sonnet": [1, 2, 3, 4], "claude-sonnet-4": [1000000, 0, 0, 0, 4000000, 5000]}'
    model.play([say("x"), say("x", input_tokens=0, cache_write_tokens=5, hour_write_tokens=2, searches=3)])
    async with open_gateway(claude_base_url=model.url, prices=prices) as gateway, opened(gateway) as run:
        await run.ask()
        assert run.account.spent_usd == pytest.approx(100.0)
        await run.ask()
    assert run.account.spent_usd == pytest.approx(100.0 + 2 * 4 + 3 * 5)


async def test_a_changed_key_counts_from_the_next_request_on(run: Opened, model: ModelServer) -> None:
    def script(_request: ModelRequest) -> Turn:
        return say("ok")

    model.play(script)
    await run.ask()
    run.account.held = type(run.account.held)(api_key="sk-another")
    await run.ask()
    assert [request.credential for request in model.requests] == [f"x-api-key {KEY}", "x-api-key sk-another"]
