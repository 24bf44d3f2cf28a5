"""What is wrong with the environment is said at once, and clearly."""

import pytest

from treadle.domain.errors import ConfigurationError
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
        Settings.load({"TREADLE_SLOTS": "0", "TREADLE_SANDBOX": "container", "TREADLE_RATE_LIMIT_CREATE": "1"})
    for name in ("TREADLE_SLOTS", "TREADLE_SANDBOX", "TREADLE_RATE_LIMIT_CREATE"):
        assert name in raised.value.message


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
