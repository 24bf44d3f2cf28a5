"""Calendar months in UTC: what is billed, and what allowances count by."""

from datetime import UTC, date, datetime


def month_of(now: datetime) -> str:
    """`2026-11`."""
    return f"{now.astimezone(UTC):%Y-%m}"


def month_end(now: datetime) -> datetime:
    """When the next one begins."""
    return datetime.combine(_after(now.astimezone(UTC).date()), datetime.min.time(), UTC)


def months_from(first: date, last: date) -> list[str]:
    """Those that have a day from `first` to `last`, ascending."""
    found, month = list[str](), first.replace(day=1)
    while month <= last:
        found.append(f"{month:%Y-%m}")
        month = _after(month)
    return found


def _after(day: date) -> date:
    """The first day of the month after."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
