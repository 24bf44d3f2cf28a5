"""What a run's answers cost, and its account told of each of them once."""

import asyncio
import math
from dataclasses import replace

import structlog

from treadle.domain.prices import PriceTable, Tokens
from treadle.gateway.counting import BYTES_OF_A_TOKEN, TOKENS_PER_SECOND, Count, Meter
from treadle.gateway.dialect import Prepared
from treadle.gateway.refusals import Refusal
from treadle.gateway.upstream import Sent
from treadle.ports import Clock
from treadle.ports.gateway import Account, ModelAnswer

log = structlog.get_logger(__name__)

#: For what was charged to become durable when a run ends, in seconds.
CLOSE_SECONDS = 10.0

#: Models without a price of which it is said so; of further ones it is not.
MAX_TOLD_MODELS = 1000

#: Bytes of a request to a token, as it is held beside others. Real text has more; were it held for the most that it may
#: cost, a few large requests would wait for one another far from their budget.
HELD_BYTES_OF_A_TOKEN = 3

_FAILED = 400


class Prices:
    """The worker's table."""

    def __init__(self, table: PriceTable) -> None:
        self._table = table
        self._told: set[str] = set()

    def of(self, model: str, tokens: Tokens) -> float:
        """US dollars. A model without a price costs what the dearest does, and a line in the log, once."""
        price, is_known = self._table.price(model)
        if not is_known and model not in self._told and len(self._told) < MAX_TOLD_MODELS:
            self._told.add(model)
            log.warning("a model without a price is charged as the dearest one; TREADLE_PRICES sets it", model=model)
        return price.of(tokens)


class Bill:
    """Of one run. Charges are tasks of their own: whoever is cancelled, they go on."""

    def __init__(self, account: Account, prices: Prices) -> None:
        self._account = account
        self._prices = prices
        self._open: set[asyncio.Task[None]] = set()
        self._is_broken = False
        self._held: dict[Tally, float] = {}
        self._turn = asyncio.Lock()  # whoever waits for room goes before those that came later
        self._freed = asyncio.Event()

    def charge(self, count: Count, status: int, duration_ms: int) -> None:
        """Begins it; `settled` waits for it."""
        cost = self._prices.of(count.model, count.tokens) if count.tokens != Tokens() else 0.0
        answer = ModelAnswer(count.model, count.tokens, cost, status, count.is_estimated, duration_ms)
        task = asyncio.create_task(self._charged(answer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def hold(self, tally: "Tally", prepared: Prepared) -> None:
        """Waits until the request cannot pass a budget together with those that are under way: alone, it always may.
        Raises Refusal, and what the account raises."""
        cost = self._prices.of(prepared.model, replace(_likely(prepared.most_input), output=prepared.most_output))
        async with self._turn:
            while True:
                self._freed.clear()
                await self.settled()
                others = sum(self._held.values())
                if await self._account.permit(others + cost if self._held else 0.0) or not self._held:
                    self._held[tally] = cost
                    return
                await self._freed.wait()

    def free(self, tally: "Tally") -> None:
        """It has ended, and is charged or never will be."""
        self._held.pop(tally, None)
        self._freed.set()

    async def settled(self) -> None:
        """Once everything that has been charged counts. Raises Refusal when something could not be: a run that cannot
        be counted may not spend."""
        if self._open:
            await asyncio.wait(tuple(self._open))
        if self._is_broken:
            raise Refusal(503, "This run's model time can no longer be put on its bill.")

    async def close(self) -> None:
        if self._open:
            _, late = await asyncio.wait(tuple(self._open), timeout=CLOSE_SECONDS)
            for task in late:
                log.error("an answer of the model could not be put on the bill in time")
                task.cancel()

    async def _charged(self, answer: ModelAnswer) -> None:
        try:
            await self._account.charge(answer)
        except Exception as error:
            self._is_broken = True
            log.exception("an answer of the model could not be put on the bill", error=type(error).__name__)


class Tally:
    """Of one request: charged once, if it has reached the API, whatever becomes of it. `sent`: whether it has. `meter`:
    for an answer that never came."""

    def __init__(self, bill: Bill, clock: Clock, prepared: Prepared, sent: Sent, meter: Meter) -> None:
        self._bill = bill
        self._clock = clock
        self._prepared = prepared
        self._sent = sent
        self._meter = meter
        self._status = 0
        self._began = self._asked = self._heard = clock.now()
        self._is_charged = False
        self._has_not_begun = False

    def asks(self) -> None:
        """The API, from now on; what it said to another credential is past."""
        self._asked = self._heard = self._clock.now()
        self._status, self._sent.has_reached = 0, False

    def answered(self, status: int, meter: Meter) -> None:
        self._status, self._meter = status, meter

    def feed(self, piece: bytes) -> None:
        """Charged before the client can act on the answer's end."""
        self._meter.feed(piece)
        self._heard = self._clock.now()
        if self._meter.is_complete:
            self.settle()

    def broke_off(self) -> None:
        """The API, and not the client. A stream whose answer had not begun costs nothing: where the way to the API is
        broken, a run would pay the most for each of its tries."""
        self._has_not_begun = self._prepared.is_stream and not self._status

    def settle(self) -> None:
        """Nothing that comes later counts."""
        if self._is_charged or not self._sent.has_reached:
            return
        self._is_charged = True
        now, count = self._clock.now(), self._meter.count()
        if count.is_estimated:
            is_free = self._has_not_begun or self._status >= _FAILED
            count = Count(count.model, Tokens(), is_estimated=False) if is_free else self._most(count)
        took = round((now - self._began).total_seconds() * 1000)
        named = replace(count, model=count.model or self._prepared.model)
        self._bill.charge(named, self._status, max(0, took))

    def _most(self, count: Count) -> Count:
        """With what the model may have written and not shown, such as its thoughts: as much as the time allowed that it
        took, or the request. A stream's time ends with the last that came of it, as it says when it goes on."""
        until = self._heard if self._prepared.is_stream else self._clock.now()
        unseen = max(0, math.ceil((until - self._asked).total_seconds() * TOKENS_PER_SECOND))
        output = max(count.tokens.output, min(self._prepared.most_output, unseen))
        return replace(count, tokens=replace(count.tokens, output=output))


def _likely(most: Tokens) -> Tokens:
    parts = (most.input, most.cache_write, most.hour_write)
    read, write, hour = (-(-part * BYTES_OF_A_TOKEN // HELD_BYTES_OF_A_TOKEN) for part in parts)
    return replace(most, input=read, cache_write=write, hour_write=hour)
