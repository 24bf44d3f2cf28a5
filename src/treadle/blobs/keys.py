"""What a blob may be called, whatever place it is kept in."""

import re

_SEGMENT = re.compile(r"[a-z0-9-][a-z0-9.-]*")
_MAX_SEGMENT = 255  # what Linux file systems take


def segments(key: str) -> list[str]:
    """The parts between the slashes. Raises ValueError for what is no key."""
    parts = key.split("/")
    if not all(_SEGMENT.fullmatch(part) and ".." not in part and len(part) <= _MAX_SEGMENT for part in parts):
        raise ValueError(f"{key!r} is no key for a blob.")
    return parts


def is_key(text: str) -> bool:
    """Whether a blob can be called so; places may hold other things, too."""
    try:
        segments(text)
    except ValueError:
        return False
    return True
