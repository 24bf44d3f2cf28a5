"""Random ids, fetched from the kernel many at a time."""

import os
from collections.abc import Callable
from uuid import UUID

#: Ids that one call to the kernel is good for.
BATCH = 256

_BYTES = 16

#: The bits that say version 4 and variant RFC 9562 (`UUID(bytes=…, version=4)` sets the same, more slowly).
_VERSION_4 = 0x4000_8000_0000_0000_0000
_CLEAR = ~(0xF000_C000_0000_0000_0000)


class RandomUuids:
    """Gives version 4 UUIDs when called, from `random(n)` bytes.

    Each call to the kernel lets go of the interpreter's lock. In a busy process, getting it back takes a hundred times
    as long as making an id: with `uuid.uuid4` a third of the time for a new run went into its four ids. Not for use in
    several threads at once.
    """

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._left: list[UUID] = []
        self._process = os.getpid()

    def __call__(self) -> UUID:
        if not self._left or self._process != os.getpid():  # a forked child must not repeat its parent's ids
            self._process = os.getpid()
            block = self._random(_BYTES * BATCH)
            numbers = (int.from_bytes(block[at : at + _BYTES], "big") for at in range(0, len(block), _BYTES))
            self._left = [UUID(int=number & _CLEAR | _VERSION_4) for number in numbers]
        return self._left.pop()
