"""The worker's gateway: a door for every run, one pool of connections to the model APIs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from treadle.domain.errors import ConfigurationError
from treadle.domain.run import EngineName
from treadle.gateway.anthropic import Anthropic
from treadle.gateway.billing import Bill, Prices
from treadle.gateway.dialect import Dialect
from treadle.gateway.door import RunDoor
from treadle.gateway.exchange import Exchange
from treadle.gateway.licenses import Licenses, Lineages, Renewal
from treadle.gateway.openai import OpenAI
from treadle.gateway.upstream import Outside
from treadle.ports import Clock
from treadle.ports.gateway import Account, LicenseRenewals, ModelDoor

log = structlog.get_logger(__name__)

#: For renewals of licenses that ended runs have left behind, when the worker ends, in seconds.
LAST_RENEWALS_SECONDS = 10.0

#: Which API an engine speaks. A new engine is one line here.
DIALECTS: Mapping[EngineName, Dialect] = {EngineName.CLAUDE: Anthropic(), EngineName.KIMI: OpenAI()}


class Gateway:
    """ports.gateway.ModelGateway. `endpoints`: where each engine's API is; Claude's without `/v1` at its end, Kimi's
    with it."""

    def __init__(
        self,
        clock: Clock,
        outside: Outside,
        prices: Prices,
        *,
        endpoints: Mapping[EngineName, str],
        token_url: str,
        renewals: LicenseRenewals,
    ) -> None:
        self._clock = clock
        self._outside = outside
        self._prices = prices
        self._endpoints = endpoints
        self._token_url = token_url
        self._once = renewals
        self._lineages = Lineages()
        self._renewals: set[Renewal] = set()  # of runs that have ended

    async def aclose(self) -> None:
        """After the last run's door is closed."""
        if self._renewals:
            _, late = await asyncio.wait(tuple(self._renewals), timeout=LAST_RENEWALS_SECONDS)
            for task in late:
                log.error("a license could not be renewed in time")
                task.cancel()
        await self._outside.aclose()

    @asynccontextmanager
    async def open(
        self, engine: EngineName, account: Account, *, on_loopback: bool = False
    ) -> AsyncIterator[ModelDoor]:
        """Raises ConfigurationError for an engine that asks no model."""
        if engine not in DIALECTS or engine not in self._endpoints:
            raise ConfigurationError(f"The engine {engine} asks no model through the gateway.")
        dialect = DIALECTS[engine]
        bill = Bill(account, self._prices)
        licenses = Licenses(account, self._clock, self._outside, self._token_url, self._once, self._lineages)
        exchange = Exchange(
            dialect,
            self._endpoints[engine].rstrip("/"),
            account=account,
            bill=bill,
            licenses=licenses,
            outside=self._outside,
            clock=self._clock,
        )
        door = RunDoor(dialect, exchange)
        try:
            async with door.listening(on_loopback=on_loopback) as found:
                yield found
        finally:
            await door.close()
            for renewal in await licenses.close():
                self._renewals.add(renewal)
                renewal.add_done_callback(self._renewals.discard)
            await bill.close()
