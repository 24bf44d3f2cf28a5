"""Sizes in bytes, as people write and read them: `10G`, `1.5 GiB`. Units are powers of 1024."""

import re

_UNITS = "KMGTP"
_SIZE = re.compile(rf"(\d+(?:\.\d+)?)\s*(?:([{_UNITS}])i?B?|B)?", re.ASCII | re.IGNORECASE)
_STEP = 1024


def parse_size(text: str) -> int:
    """Bytes, from `1048576`, `500M`, `1.5GiB`. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a size such as 500M, 10G or a number of bytes")
    exponent = _UNITS.index(match[2].upper()) + 1 if match[2] else 0
    return round(float(match[1]) * _STEP**exponent) if exponent or "." in match[1] else int(match[1])


def show_size(size: int) -> str:
    """`950 B`, `1.2 MiB`: three digits or four."""
    amount, unit = float(size), "B"
    for letter in _UNITS:
        if round(amount, 1) < _STEP:
            break
        amount, unit = amount / _STEP, f"{letter}iB"
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
