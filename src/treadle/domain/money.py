"""US dollars: as people read them, and compared although they are sums of floats."""

from datetime import datetime
from typing import Final

from treadle.domain.months import month_end, month_of

#: Sums that differ by less are the same.
_DECIMALS: Final = 9


def dollars(amount: float) -> str:
    """`$0.01`, `$1,234.50`, `$0.012345`: two decimals, and up to six where they say something."""
    whole, _, decimals = f"{amount:,.6f}".partition(".")
    return f"${whole}.{decimals.rstrip('0').ljust(2, '0')}"


def is_passed(spent: float, limit: float) -> bool:
    """Whether more was spent."""
    return round(spent - limit, _DECIMALS) > 0


def is_used_up(spent: float, limit: float) -> bool:
    """Whether nothing is left."""
    return round(spent - limit, _DECIMALS) >= 0


def month_sentence(cap: float, spent: float, now: datetime) -> str:
    """What an organization's runs have cost in the month of `now`, and may."""
    return (
        f"The organization's runs have cost {dollars(spent)} in {month_of(now)}, and may cost {dollars(cap)} "
        f"until {month_end(now):%Y-%m-%d %H:%M} UTC."
    )
