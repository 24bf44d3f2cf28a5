"""Server-sent events from pieces of text. Not httpx2's own: that one shows events only, and a caller who must keep a
deadline has to see the heartbeats between them too."""

import json
from dataclasses import dataclass

#: Longest event; a stream that sends more without ending one is not Treadle's.
MAX_CHARACTERS = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """`id` is that of this message or the last one before it that had any."""

    id: str
    event: str
    data: str

    def json(self) -> object:
        return json.loads(self.data)


class SseDecoder:
    """Feed it pieces of text as they come; they may be cut anywhere."""

    def __init__(self) -> None:
        self._line: list[str] = []
        self._size = 0
        self._ended_in_return = False
        self._id = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, text: str) -> list[Message]:
        """The messages that `text` completes. Raises ValueError for one that has no end."""
        if self._ended_in_return:
            text = text.removeprefix("\n")  # the second half of a line end of two characters
        if not text:
            return []
        self._ended_in_return = text.endswith("\r")
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        found = []
        for line in lines:
            self._line.append(line)
            if (message := self._take("".join(self._line))) is not None:
                found.append(message)
            self._line.clear()
        self._line.append(rest)
        self._size += len(rest)
        if self._size > MAX_CHARACTERS:
            raise ValueError("A server-sent event does not end.")
        return found

    def _take(self, line: str) -> Message | None:
        self._size += len(line)
        if not line:
            message = Message(self._id, self._event or "message", "\n".join(self._data)) if self._data else None
            self._data, self._event, self._size = [], "", 0
            return message
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None
