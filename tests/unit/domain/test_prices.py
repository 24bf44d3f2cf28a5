"""What model time costs, by the list and by the operator's own table."""

import pytest

from treadle.domain.prices import LIST_PRICES, LONG_PROMPT_TOKENS, Price, PriceTable, Tokens

LIST = PriceTable.over_list({})


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-opus-4-1-20250805", "claude-opus-4"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-5-5[1m]", "claude-opus-5-5"),
        ("Claude-Sonnet-4-5-20250929", "claude-sonnet-4"),
        ("kimi-k2-turbo-preview", "kimi-k2-turbo"),
        ("kimi-k2-thinking-turbo", "kimi-k2-thinking-turbo"),
        ("kimi-k3.1-pro-highspeed", "kimi-k3.1-pro-highspeed"),
    ],
)
def test_the_longest_beginning_that_fits_counts(model: str, listed: str) -> None:
    assert LIST.price(model) == (LIST_PRICES[listed], True)


def test_each_kind_of_token_has_its_price() -> None:
    price = Price(1.0, 10.0, 0.1, 1.25)
    assert price.of(Tokens(1_000_000, 200_000, 3_000_000, 400_000)) == pytest.approx(1.0 + 2.0 + 0.3 + 0.5)
    assert price.of(Tokens()) == 0.0


def test_what_a_cache_keeps_for_an_hour_costs_more() -> None:
    """Twice the input, unless the table says otherwise; the rest of what is written costs as ever."""
    written = Tokens(cache_write=1_000_000, hour_write=400_000)
    assert written.all_input == 1_000_000
    assert Price(1.0, 10.0, 0.1, 1.25).of(written) == pytest.approx(0.6 * 1.25 + 0.4 * 2.0)
    assert Price(1.0, 10.0, 0.1, 1.25, 7.0).of(written) == pytest.approx(0.6 * 1.25 + 0.4 * 7.0)
    assert Price(1.0, 10.0, 0.1, 1.25, 0.0).of(written) == pytest.approx(0.6 * 1.25)


def test_searches_cost_beside_tokens() -> None:
    assert Price(1.0, 10.0, 0.1, 1.25).of(Tokens(tool_requests=3)) == pytest.approx(0.03)
    assert Price(1.0, 10.0, 0.1, 1.25, tool_requests=20.0).of(Tokens(tool_requests=3)) == pytest.approx(0.06)
    assert LIST.price("kimi-k2-turbo-preview")[0].tool_requests == 5.0


def test_every_count_is_added_up() -> None:
    assert Tokens(1, 2, 3, 4, 5, 6) + Tokens(10, 20, 30, 40, 50, 60) == Tokens(11, 22, 33, 44, 55, 66)


def test_a_long_prompt_may_cost_more_for_all_its_tokens() -> None:
    price = Price(0.1, 0.5, 0.01, 0.125, long_prompt=Price(0.5, 2.5, 0.05, 0.625))
    whole, output = LONG_PROMPT_TOKENS, 1000
    assert price.of(Tokens(whole, output)) == pytest.approx((whole * 0.1 + output * 0.5) / 1e6)
    assert price.of(Tokens(whole - 500, output, cache_read=501)) == pytest.approx(
        ((whole - 500) * 0.5 + output * 2.5 + 501 * 0.05) / 1e6
    )


def test_the_operators_prices_go_before_the_list() -> None:
    own = Price(7.0, 8.0, 9.0, 10.0)
    table = PriceTable.over_list({"claude-opus-4-5": own, "house-": own})
    assert table.price("claude-opus-4-5-20251101") == (own, True)
    assert table.price("house-model") == (own, True)
    assert table.price("claude-opus-4-6") == (LIST_PRICES["claude-opus-4-6"], True)


def test_the_operators_prices_go_before_the_list_however_they_are_capitalized() -> None:
    own = Price(7.0, 8.0, 9.0, 10.0)
    assert PriceTable.over_list({"Claude-Opus-4-5": own}).price("claude-opus-4-5-20251101") == (own, True)


def test_a_model_that_nobody_knows_costs_what_the_dearest_costs() -> None:
    price, is_known = LIST.price("gpt-9")
    assert not is_known
    assert (price.input, price.output, price.cache_write) == (15.0, 75.0, 18.75)
    assert (price.for_an_hour, price.tool_requests) == (30.0, 10.0)
    assert PriceTable({}).price("gpt-9") == (Price(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), False)
