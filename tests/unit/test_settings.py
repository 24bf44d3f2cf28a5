"""What is wrong with the environment is said at once, and clearly."""

import pytest

from treadle.domain.errors import ConfigurationError
from treadle.domain.prices import Price
from treadle.settings import Settings


@pytest.mark.parametrize("name", ["MAX_COST_USD", "NETWORK_POLICY"])
def test_a_setting_that_this_version_lacks_is_called_so(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"TREADLE_{name} is no setting of this version"):
        Settings.load({f"TREADLE_{name}": "1/2"})


def test_a_misspelt_setting_is_told_its_right_name() -> None:
    with pytest.raises(ConfigurationError, match=r"no setting of this version \(perhaps TREADLE_DATA_DIR is meant\)"):
        Settings.load({"TREADLE_DATADIR": "/tmp/x"})


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load({"TREADLE_SLOTS": "0", "TREADLE_SANDBOX": "chroot", "TREADLE_RATE_LIMIT_CREATE": "1"})
    for name in ("TREADLE_SLOTS", "TREADLE_SANDBOX", "TREADLE_RATE_LIMIT_CREATE"):
        assert name in raised.value.message


def test_a_fault_is_told_in_its_own_words() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load({"TREADLE_NETWORK": "some"})
    said = "These settings are not valid: TREADLE_NETWORK: Must be none, model, full or allow:HOST,…."
    assert raised.value.message == said


def test_sizes_are_read_as_people_write_them() -> None:
    settings = Settings.load({"TREADLE_KEEP_EVENTS_BYTES": "10G", "TREADLE_MIN_FREE_BYTES": "1048576"})
    assert (settings.keep_events_bytes, settings.min_free_bytes) == (10 << 30, 1 << 20)
    with pytest.raises(ConfigurationError, match=r"TREADLE_KEEP_MIRRORS_BYTES: .*500M"):
        Settings.load({"TREADLE_KEEP_MIRRORS_BYTES": "much"})


def test_no_value_is_repeated() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load({"TREADLE_BOOTSTRAP_API_KEY": "short-secret", "TREADLE_BROKER_URL": "amqp://u:secret@h"})
    assert "secret@" not in raised.value.sentence()
    assert "short-secret" not in raised.value.sentence()


def test_an_empty_value_counts_as_unset_and_the_defaults_are_the_designs() -> None:
    settings = Settings.load({"TREADLE_SLOTS": ""})
    limits = (settings.lease_seconds, settings.phase_seconds, settings.idle_seconds)
    assert (settings.slots, *limits) == (4, 30, 900, 300)
    assert list(settings.retry_seconds) == [2.5, 5, 7.5]
    assert not settings.allow_local_repositories
    assert not settings.allow_private_hosts


SHAPE = "[input, output, cache read, cache write, cache write for an hour, 1,000 web searches]"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("[1, 2, 3, 4]", Price(1, 2, 3, 4)),
        ("[0, 0, 0, 0]", Price(0, 0, 0, 0)),
        ("[1, 2, 3, 4, 5]", Price(1, 2, 3, 4, 5)),
        ("[1, 2, 3, 4, null, 6]", Price(1, 2, 3, 4, None, 6)),
    ],
)
def test_a_price_may_tell_what_an_hour_in_a_cache_and_searches_cost(given: str, read: Price) -> None:
    assert Settings.load({"TREADLE_PRICES": f'{{"house-": {given}}}'}).prices == {"house-": read}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[1, 2]", "cache read (3rd) is missing; of house-: cache write (4th) is missing"),
        ("[]", "input (1st) is missing; of house-: output (2nd) is missing; of house-: cache read (3rd) is missing"),
        ("[1, 2, 3, 4, 5, 6, 7]", "there are 7 numbers, and columns for 6"),
        ("[1, -2, 3, 4]", "output (2nd) must be 0 or more"),
        ("[1, NaN, 3, 4]", "output (2nd) must be a number"),
        ("[1, 2, 3, Infinity]", "cache write (4th) must be a number"),
        ("[1, 2, 1e999, 4]", "cache read (3rd) must be a number"),
        (f"[1, 2, 1{'0' * 5000}, 4]", "cache read (3rd) must be a number"),
        ("[null, 2, 3, 4]", "input (1st) must be a number"),
        ("[true, 2, 3, 4]", "input (1st) must be a number"),
        ('[1, 2, 3, "4"]', "cache write (4th) must be a number"),
        ("[1, 2, 3, 4, [5]]", "cache write for an hour (5th) must be a number or null"),
        ("[1, 2, 3, 4, 5, null]", "1,000 web searches (6th) must be a number"),
        ("1", "must be a list"),
        ('{"input": 1, "output": 2, "cache_read": 3, "cache_write": 4}', "must be a list"),
    ],
)
def test_what_is_no_price_is_refused_by_its_model_and_column(given: str, said: str) -> None:
    """Nothing that would count too little."""
    with pytest.raises(ConfigurationError) as raised:
        Settings.load({"TREADLE_PRICES": f'{{"house-": {given}}}'})
    assert f"TREADLE_PRICES: of house-: {said}" in raised.value.message
    assert raised.value.message.count("TREADLE_PRICES") == 1
    assert raised.value.message.endswith(f"(each model has {SHAPE} in US dollars, the last two as you like).")


def test_every_fault_of_the_prices_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load({"TREADLE_PRICES": '{"a": [1, -2, 3, true], "": [1, 2, 3, 4], "b": 1, "c": [1, 2, 3, 4]}'})
    assert raised.value.message == (
        "These settings are not valid: TREADLE_PRICES: a name is empty, and would be every model's; of a: output (2nd) "
        "must be 0 or more; of a: cache write (4th) must be a number; of b: must be a list "
        f"(each model has {SHAPE} in US dollars, the last two as you like)."
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[1, 2, 3, 4]", "must be a JSON object"),
        ('{"a": [1, 2, 3, 4}', "must be a JSON object"),
        ("[" * 100_000, "must be a JSON object"),
        ('{"  ": [1, 2, 3, 4]}', "a name is empty"),
        ('{"a": [1, 2, 3, 4], "a": [0, 0, 0, 0]}', "a is there twice"),
        ('{"a": [1, 2, 3, 4], "A": [0, 0, 0, 0]}', "A is there twice"),
    ],
)
def test_what_is_no_table_of_prices_is_refused(given: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load({"TREADLE_PRICES": given})
    assert raised.value.message.startswith(f"These settings are not valid: TREADLE_PRICES: {said}")
    assert SHAPE in raised.value.message
