"""When cron expressions come round: also where clocks are put forward and back."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.services.cron import MAX_CRON, Cron

SPRING = datetime(2027, 3, 28, 0, 0, tzinfo=UTC)  # in Paris 2:00 becomes 3:00 at 1:00 UTC
AUTUMN = datetime(2027, 10, 31, 0, 0, tzinfo=UTC)  # and 3:00 becomes 2:00


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("*/15 * * * *", "UTC", "2027-01-01T00:00", "2027-01-01T00:15"),
        ("0 6 * * MON-FRI", "Europe/Paris", "2027-01-01T12:00", "2027-01-04T05:00"),
        ("@daily", "America/New_York", "2027-07-01T00:00", "2027-07-01T04:00"),
        ("0 0 29 2 *", "UTC", "2027-01-01T00:00", "2028-02-29T00:00"),
        ("0 12 L * *", "UTC", "2027-02-01T00:00", "2027-02-28T12:00"),
        ("0 9 * * 1#1", "UTC", "2027-01-05T00:00", "2027-02-01T09:00"),
    ],
)
def test_the_next_time(cron: str, zone: str, after: str, expected: str) -> None:
    assert Cron(cron, zone).after(utc(after)) == utc(expected)


def test_what_falls_into_the_gap_of_spring_comes_right_after_it_and_once() -> None:
    times = list(islice(Cron("30 2 * * *", "Europe/Paris").times(SPRING), 2))
    assert times == [utc("2027-03-28T01:00"), utc("2027-03-29T00:30")]


def test_what_the_clocks_of_autumn_show_twice_comes_once() -> None:
    times = list(islice(Cron("30 2 * * *", "Europe/Paris").times(AUTUMN), 2))
    assert [time.date().day for time in times] == [31, 1]


@pytest.mark.parametrize(
    ("cron", "zone", "says"),
    [
        ("", "UTC", "five fields"),
        ("* * * * * *", "UTC", "five fields"),
        ("@reboot", "UTC", "five fields"),
        ("60 * * * *", "UTC", "bad minute"),
        ("*/0 * * * *", "UTC", "bad minute"),
        ("0 0 30 2 *", "UTC", "bad day-of-month"),
        ("0 0 * * MON#9", "UTC", "bad day-of-week"),
        ("x" * (MAX_CRON + 1), "UTC", "at most"),
        ("@daily", "Mars/Olympus", "no time zone"),
        ("@daily", "../../etc/passwd", "no time zone"),
        ("@daily", "", "no time zone"),
        ("@daily", "x" * 10_000, "no time zone"),
        ("@daily", "a\0b", "no time zone"),
        ("@daily", "localtime", "no time zone"),
        ("@daily", "posixrules", "no time zone"),
        ("@daily", "right/UTC", "no time zone"),
    ],
)
def test_what_is_no_schedule_says_so(cron: str, zone: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Cron(cron, zone)


@given(
    cron=st.sampled_from(["* * * * *", "*/7 1-5 * * *", "0 9 * * MON", "15 3 1,L * *", "30 2 * * *"]),
    zone=st.sampled_from(["UTC", "Europe/Paris", "Asia/Kolkata", "America/New_York"]),
    moment=st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1)).map(lambda each: each.replace(tzinfo=UTC)),  # noqa: DTZ001 - hypothesis wants bounds without a zone
)
def test_the_latest_time_is_the_one_after_which_none_was(cron: str, zone: str, moment: datetime) -> None:
    read = Cron(cron, zone)
    (latest,) = read.latest(moment, 1)
    assert latest <= moment
    following = read.after(latest)
    assert following is not None
    # Clocks that are put back may have the library name one time more, but never one that is to come.
    assert following > moment or moment - following < timedelta(hours=2)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = Cron(text).after(SPRING)
    except ValueError:
        return
    assert found is None or found > SPRING


@pytest.mark.parametrize(
    ("cron", "zone", "until", "latest"),
    [
        ("59 1 * * *", "Europe/Dublin", "2026-10-25T01:20:30", ["2026-10-25T00:59", "2026-10-24T00:59"]),
        ("30 2 * * *", "Europe/Paris", "2027-10-31T01:10", ["2027-10-31T00:30", "2027-10-30T00:30"]),
        ("30 2 * * *", "Europe/Paris", "2027-03-28T01:00", ["2027-03-28T01:00", "2027-03-27T01:30"]),
        ("30 * * * *", "Australia/Lord_Howe", "2026-04-04T15:11", ["2026-04-04T14:30", "2026-04-04T13:30"]),
        ("0 0 29 2 *", "UTC", "2027-01-01T00:00", ["2024-02-29T00:00", "2020-02-29T00:00"]),
    ],
)
def test_the_latest_times_are_those_that_came(cron: str, zone: str, until: str, latest: list[str]) -> None:
    """Also while clocks show an hour again, whichever way the times are gone through."""
    assert Cron(cron, zone).latest(utc(until), 2) == [utc(each) for each in latest]


def test_times_that_are_decades_apart_do_not_lead_out_of_the_calendar() -> None:
    leap_mondays = Cron("0 0 * 2 MON#5")
    assert [time.year for time in leap_mondays.latest(utc("2044-02-29T00:00"), 100)] == [2044, 2016, 1988, 1960]
    assert leap_mondays.after(utc("2072-02-29T00:00")) == utc("2112-02-29T00:00")
