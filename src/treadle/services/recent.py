"""A memory of a few seconds, bounded, for what every request would otherwise ask the store again."""

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from treadle.ports import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Forgets after `seconds`, and the oldest entry when `size` is reached. So a change elsewhere counts here that
    much later."""

    def __init__(self, clock: Clock, *, seconds: float, size: int) -> None:
        self._clock = clock
        self._span = timedelta(seconds=seconds)
        self._size = size
        self._entries: OrderedDict[Key, tuple[datetime, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """What was put under `key`, unless it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock.now():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: Key, value: Value, *, until: datetime | None = None) -> None:
        """Keeps `value`; not beyond `until`."""
        end = self._clock.now() + self._span
        self._entries[key] = (min(end, until) if until is not None else end, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()
