"""What model time costs. A table that the operator can set: vendors change theirs."""

from collections.abc import Mapping
from dataclasses import dataclass

_THOUSAND, _MILLION = 1000, 1_000_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of one answer of a model, as the model API counts them. The first four kinds exclude each other."""

    input: int = 0  # neither read from a cache nor written to one
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    hour_write: int = 0  # of those written, what the cache keeps for an hour
    tool_requests: int = 0  # no tokens: what the API's own tools were asked, web searches above all

    @property
    def all_input(self) -> int:
        return self.input + self.cache_read + self.cache_write

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.hour_write + other.hour_write,
            self.tool_requests + other.tool_requests,
        )


#: Tokens that go in, of all kinds, above which some models cost more.
LONG_PROMPT_TOKENS = 100_000

#: What a cache keeps for an hour, of the price of input, where nothing else is said.
HOUR_WRITE_FACTOR = 2.0

#: US dollars for a thousand web searches, where nothing else is said.
SEARCHES_USD = 10.0


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens of each kind; `long_prompt` of a request that is longer than
    LONG_PROMPT_TOKENS, None: the same. `hour_write` None: HOUR_WRITE_FACTOR times the input. `tool_requests`: for a
    thousand."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    hour_write: float | None = None
    tool_requests: float = SEARCHES_USD
    long_prompt: "Price | None" = None

    @property
    def for_an_hour(self) -> float:
        """A million tokens that a cache keeps so long."""
        return HOUR_WRITE_FACTOR * self.input if self.hour_write is None else self.hour_write

    def of(self, tokens: Tokens) -> float:
        """US dollars, for one answer."""
        if self.long_prompt is not None and tokens.all_input > LONG_PROMPT_TOKENS:
            return self.long_prompt.of(tokens)
        total = (
            tokens.input * self.input
            + tokens.output * self.output
            + tokens.cache_read * self.cache_read
            + (tokens.cache_write - tokens.hour_write) * self.cache_write
            + tokens.hour_write * self.for_an_hour
        )
        return total / _MILLION + tokens.tool_requests * self.tool_requests / _THOUSAND


_KIMI_SEARCHES_USD = 5.0

#: By the beginning of the model's name; the longest that fits counts. Vendors' list prices of November 2026; what is
#: written to a cache: for five minutes.
LIST_PRICES: Mapping[str, Price] = {
    "claude-fable-5": Price(10.0, 50.0, 1.0, 12.5),
    "claude-fable-5-1": Price(10.0, 50.0, 0.25, 12.5),
    "claude-mythos-5": Price(10.0, 50.0, 1.0, 12.5),
    "claude-mythos-5-1": Price(10.0, 50.0, 0.25, 12.5),
    "claude-opus-5": Price(5.0, 25.0, 0.5, 6.25),
    "claude-opus-5-5": Price(4.0, 20.0, 0.2, 5.0),
    "claude-opus-4": Price(15.0, 75.0, 1.5, 18.75),
    "claude-opus-4-5": Price(5.0, 25.0, 0.5, 6.25),
    "claude-opus-4-6": Price(5.0, 25.0, 0.5, 6.25),
    "claude-opus-4-7": Price(5.0, 25.0, 0.5, 6.25),
    "claude-opus-4-8": Price(5.0, 25.0, 0.5, 6.25),
    "claude-sonnet-5": Price(2.0, 10.0, 0.2, 2.5),
    "claude-sonnet-5-5": Price(2.0, 10.0, 0.1, 2.5),
    "claude-sonnet-4": Price(3.0, 15.0, 0.3, 3.75),
    "claude-haiku-5-5": Price(0.1, 0.5, 0.01, 0.125, long_prompt=Price(0.5, 2.5, 0.05, 0.625)),
    "claude-haiku-4": Price(1.0, 5.0, 0.1, 1.25),
    "claude-3-7-sonnet": Price(3.0, 15.0, 0.3, 3.75),
    "claude-3-5-sonnet": Price(3.0, 15.0, 0.3, 3.75),
    "claude-3-5-haiku": Price(0.8, 4.0, 0.08, 1.0),
    "claude-3-opus": Price(15.0, 75.0, 1.5, 18.75),
    "claude-3-haiku": Price(0.25, 1.25, 0.03, 0.3),
    "kimi-k3": Price(3.0, 15.0, 0.3, 3.0, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k3.1-pro": Price(2.0, 10.0, 0.2, 2.0, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k3.1-pro-highspeed": Price(4.0, 20.0, 0.2, 4.0, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k2.7-code": Price(0.95, 4.0, 0.19, 0.95, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k2.6": Price(0.95, 4.0, 0.16, 0.95, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k2.5": Price(0.6, 3.0, 0.1, 0.6, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k2": Price(0.6, 2.5, 0.15, 0.6, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k2-turbo": Price(1.15, 8.0, 0.15, 1.15, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k2-thinking": Price(0.6, 2.5, 0.15, 0.6, tool_requests=_KIMI_SEARCHES_USD),
    "kimi-k2-thinking-turbo": Price(1.15, 8.0, 0.15, 1.15, tool_requests=_KIMI_SEARCHES_USD),
    "moonshot-v1": Price(2.0, 5.0, 2.0, 2.0, tool_requests=_KIMI_SEARCHES_USD),
}


@dataclass(frozen=True, slots=True)
class PriceTable:
    """`prices` by the beginning of a model's name."""

    prices: Mapping[str, Price]

    @classmethod
    def over_list(cls, own: Mapping[str, Price]) -> "PriceTable":
        """The operator's prices before the vendors' list, however either writes a name."""
        return cls({**LIST_PRICES, **{beginning.lower(): price for beginning, price in own.items()}})

    def price(self, model: str) -> tuple[Price, bool]:
        """The model's price and whether it is known. One that is not costs what the dearest costs: a budget has to hold
        for it too."""
        name = model.lower()
        fitting = [beginning for beginning in self.prices if name.startswith(beginning.lower())]
        if fitting:
            return self.prices[max(fitting, key=len)], True
        known = self.prices.values()
        return Price(
            max((price.input for price in known), default=0.0),
            max((price.output for price in known), default=0.0),
            max((price.cache_read for price in known), default=0.0),
            max((price.cache_write for price in known), default=0.0),
            max((price.for_an_hour for price in known), default=0.0),
            max((price.tool_requests for price in known), default=0.0),
        ), False
