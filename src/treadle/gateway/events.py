"""Server-sent events, put together from whatever pieces they arrive in."""

#: Longest line of a stream that is read; of a longer one only the length is known.
MAX_LINE_BYTES = 1 << 20


class Events:
    """Feed it chunks; it gives the data of every event that has ended. `overlong` counts the bytes that were passed
    over."""

    def __init__(self) -> None:
        self._rest = bytearray()  # of a line that has not ended
        self._data: list[bytes] = []  # of an event that has not
        self._size = 0
        self._is_skipping = False
        self.overlong = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        first, *lines = chunk.split(b"\n")
        self._hold(first)
        if not lines:
            return []
        last = lines.pop()
        found: list[bytes] = []
        for line in (self._held(), *lines):
            if line.startswith(b"data:"):
                self._keep(line)
            elif self._data and line in {b"", b"\r"}:
                found.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        self._hold(last)
        return found

    def _hold(self, part: bytes) -> None:
        if self._is_skipping or len(self._rest) + len(part) > MAX_LINE_BYTES:
            self.overlong += len(self._rest) + len(part)
            self._rest.clear()
            self._is_skipping = True
        else:
            self._rest += part

    def _held(self) -> bytes:
        """The line that has ended now; nothing that is an event's, if it was too long."""
        line = b":" if self._is_skipping else bytes(self._rest)
        self._rest.clear()
        self._is_skipping = False
        return line

    def _keep(self, line: bytes) -> None:
        self._size += len(line)
        if self._size > MAX_LINE_BYTES:
            self.overlong += len(line)
        else:
            self._data.append(line[5:].removeprefix(b" ").removesuffix(b"\r"))
