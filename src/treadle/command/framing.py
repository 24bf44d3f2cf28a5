"""Bytes into lines, of bounded length."""


class LineFramer:
    """Takes bytes as they come, gives lines without their line feed. A line longer than `limit` bytes is cut."""

    def __init__(self) -> None:
        self.cut_lines = 0  # how many were longer
        self._buffer = bytearray()
        self._searched = 0  # how much of the buffer is known to hold no line feed
        self._is_skipping = False  # the rest of a line that was cut

    def add(self, data: bytes) -> None:
        self._buffer += data

    def take(self, size: int) -> bytes:
        """At most `size` bytes of those that no line has taken yet."""
        self._searched = 0
        chunk = bytes(self._buffer[:size])
        del self._buffer[:size]
        return chunk

    def next_line(self, limit: int) -> bytes | None:
        """The next whole line, None until there is one."""
        buffer = self._buffer
        while True:
            found = buffer.find(b"\n", self._searched)
            self._searched = 0
            if self._is_skipping:
                del buffer[: found + 1 or len(buffer)]
                if found < 0:
                    return None
                self._is_skipping = False
            elif 0 <= found <= limit:
                line = bytes(buffer[:found])
                del buffer[: found + 1]
                return line
            elif len(buffer) <= limit:
                self._searched = len(buffer)
                return None
            else:
                self._is_skipping = True
                self.cut_lines += 1
                return self.take(limit)

    def last_line(self) -> bytes | None:
        """What came after the last line feed, at the end of it all; None for nothing."""
        return self.take(len(self._buffer)) or None
