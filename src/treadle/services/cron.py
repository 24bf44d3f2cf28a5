"""When a cron expression comes round."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

#: Of a cron expression, in characters.
MAX_CRON = 200

#: Fields of a cron expression: minute, hour, day of the month, month, day of the week.
_FIELDS: Final = 5

_TICK: Final = timedelta(seconds=1)

#: More than clocks are ever put back, and the times that may be told wrongly by it.
_CLOCKS: Final = timedelta(hours=3)
_BESIDES: Final = 2

#: Older times are nobody's any more, and a hundred leap days that are Mondays are before the calendar begins.
_PAST: Final = timedelta(days=100 * 366)

#: What each machine takes for something else, so that a schedule would move with the process that serves it.
_LOCAL: Final = frozenset({"localtime", "posixrules", "Factory"})

_SHORT: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone, as Debian's cron reads one: where clocks are put forward, what falls into the
    gap comes right after it; where they are put back, it comes once."""

    text: str
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Raises ValueError with the end of a sentence."""
        if len(self.text) > MAX_CRON:
            raise ValueError(f"must be at most {MAX_CRON} characters")
        fields = self._fields
        if len(fields.split()) != _FIELDS:
            known = ", ".join(sorted(_SHORT))
            raise ValueError(f"must have five fields (minute hour day month weekday), or be one of {known}")
        try:
            first = next(CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC)), None)
        except (CronSimError, ValueError, AssertionError) as error:
            raise ValueError(f"is no cron expression: {str(error).lower() or 'it cannot be read'}") from None
        if first is None:
            raise ValueError("names no day that there is")
        zone_of(self.time_zone)

    @property
    def _fields(self) -> str:
        return _SHORT.get(self.text.strip().lower(), self.text)

    def after(self, moment: datetime) -> datetime | None:
        """The first time after that, in UTC; None where there is none within fifty years."""
        return next(self.times(moment), None)

    def times(self, after: datetime) -> Iterator[datetime]:
        """Those after that, in UTC, for ever."""
        for found in CronSim(self._fields, after.astimezone(zone_of(self.time_zone))):
            if (time := found.astimezone(UTC)) > after:
                yield time

    def latest(self, until: datetime, most: int) -> Sequence[datetime]:
        """The last of those not after that, in UTC, the latest first, at most so many, and of a century."""
        # Backwards, the library takes hours that clocks show twice, or never, otherwise than forwards: it says where to
        # begin, and no more.
        backwards = CronSim(self._fields, (until + _TICK).astimezone(zone_of(self.time_zone)), reverse=True)
        known = takewhile(lambda time: time > until - _PAST, islice(backwards, most + _BESIDES))
        begin = list(known)[-1:]
        times = takewhile(lambda time: time <= until, self.times(begin[0].astimezone(UTC) - _CLOCKS)) if begin else ()
        return list(deque(times, most))[::-1]


def zone_of(name: str) -> ZoneInfo:
    """Raises ValueError with the end of a sentence."""
    with suppress(ValueError, OSError, LookupError):
        if name not in _LOCAL and not name.startswith(("posix/", "right/")):
            return ZoneInfo(name[:MAX_CRON])
    raise ValueError("is no time zone: write one such as `Europe/Paris` or `UTC`")
