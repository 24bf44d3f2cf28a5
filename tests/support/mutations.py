"""Almost valid inputs: a valid one with something wrong in it, the same one for the same seed."""

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

#: Bytes that mean something to one parser or another.
TOKENS: tuple[bytes, ...] = (
    *(
        b"\0",
        b"\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\t",
        b" ",
        b'"',
        b"'",
        b"\\",
        b"/",
        b":",
        b";",
        b",",
        b"=",
        b"%",
        b"#",
    ),
    *(b"@", b"&", b"?", b"*", b"..", b"--", b"{", b"}", b"[", b"]", b"<", b">", b"%00", b"%0a", b"%2e%2e", b"\\u0000"),
    *(b"\\ud800", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u2028".encode(), "\U0001f9f5".encode()),
    *(b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"9" * 25, b"9" * 5_000, b"0x7f", b"null", b"true", b"[]", b"{}"),
)

#: Values where others are expected.
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        2**31,
        2**63,
        -(2**63) - 1,
        10**30,
        0.5,
        1e308,
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "\udfff",
    ),
    *("x" * 10_001, "é" * 600, "\n", "../..", "-x", "true", "1", [], {}, [[]], {"": {}}, [None], ["x"] * 300),
    *({"source": 1}, {"__proto__": {}}, "\u202e", "\ufeff", "9" * 400),
)

_DEPTHS = (2, 30, 101, 900, 3_000)


class Mutator:
    """One input's. All that is random comes from `random`."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def data(self, valid: bytes, *others: bytes, tokens: Sequence[bytes] = TOKENS) -> bytes:
        """`valid` with one to four changes; pieces of `others` may come into it."""
        changed = valid
        for _ in range(self.random.choice((1, 1, 2, 4))):
            change = self.random.choice(
                (
                    self._flip,
                    self._cut,
                    self._repeat,
                    self._truncate,
                    self._number,
                    self._token,
                    self._swap,
                    self._splice,
                )
            )
            changed = change(changed, [valid, *others], tokens)
        return changed

    def text(self, valid: str, *others: str, tokens: Sequence[bytes] = TOKENS) -> str:
        """The same for text, with halves of surrogate pairs and what else JSON can spell."""
        changed = self.data(valid.encode(errors="surrogatepass"), *(other.encode() for other in others), tokens=tokens)
        return changed.decode(errors=self.random.choice(("replace", "surrogateescape", "ignore")))

    def value(self, valid: Any) -> Any:
        """A JSON value with something else in one to three of its places."""
        changed = [deepcopy(valid)]
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            self._change_somewhere(changed)
        return changed[0]

    def json(self, valid: Any) -> bytes:
        """A JSON text: of a changed value, or changed itself."""
        if self.random.random() < 0.2:
            return self.deep(json.dumps(valid))
        if self.random.random() < 0.4:
            return self.data(json.dumps(valid).encode())
        return json.dumps(self.value(valid)).encode()

    def deep(self, text: str) -> bytes:
        """With something nested deeply in place of one of its strings."""
        opening = self.random.choice(("[", '{"a":', '[{"a":'))
        closing = {"[": "]", '{"a":': "}", '[{"a":': "}]"}[opening]
        depth = self.random.choice(_DEPTHS)
        nested = opening * depth + "1" + closing * self.random.choice((depth, depth - 1, 0))
        place = self.random.randrange(len(text) + 1)
        end = text.find(",", place)
        return (text[:place] + nested + (text[end:] if end >= 0 else "")).encode()

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """In pieces of any size."""
        most = self.random.choice((1, 7, 100, 10_000)) if len(data) < 5_000 else 10_000
        start = 0
        while start < len(data):
            size = self.random.randint(1, most)
            yield data[start : start + size]
            start += size

    # ---- changes of bytes --------------------------------------------------------------------------------------------

    def _flip(self, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
        if not data:
            return self.random.randbytes(3)
        at = self.random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self.random.randrange(8))]) + data[at + 1 :]

    def _cut(self, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _repeat(self, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
        start, end = self._span(data)
        times = self.random.choice((2, 3, 50)) if end - start < 1_000 else 2
        return data[:end] + data[start:end] * times + data[end:]

    def _truncate(self, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
        return data[: self.random.randrange(len(data) + 1)]

    def _number(self, data: bytes, _: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
        places = [at for at, byte in enumerate(data[:100_000]) if 0x30 <= byte <= 0x39]
        if not places:
            return self._token(data, (), tokens)
        at = self.random.choice(places)
        number = self.random.choice((b"", b"0", b"-1", b"9" * 19, b"9" * 5_000, b"1e400", b"0.1"))
        return data[:at] + number + data[at + 1 :]

    def _token(self, data: bytes, _: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
        at = self.random.randrange(len(data) + 1)
        return data[:at] + self.random.choice(tokens) + data[at + self.random.choice((0, 0, 1)) :]

    def _swap(self, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
        (one, two), (three, four) = sorted((self._span(data), self._span(data)))
        return data[:one] + data[three:four] + data[two:three] + data[one:two] + data[max(two, four) :]

    def _splice(self, data: bytes, whole: Sequence[bytes], _: Sequence[bytes]) -> bytes:
        other = self.random.choice(whole)
        start, end = self._span(other)
        at = self.random.randrange(len(data) + 1)
        return data[:at] + other[start:end] + data[at:]

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self.random.randrange(len(data) + 1)
        length = self.random.choice((1, 2, 10, 100, 1_000))
        return start, min(len(data), start + self.random.randint(0, length))

    # ---- changes of values -------------------------------------------------------------------------------------------

    def _change_somewhere(self, within: Any) -> None:
        holder, key = within, self.random.choice(self._keys(within))
        while isinstance(holder[key], dict | list) and holder[key] and self.random.random() < 0.7:
            holder = holder[key]
            key = self.random.choice(self._keys(holder))
        kind = self.random.randrange(6)
        if kind == 0 and isinstance(holder, dict):
            holder[self.random.choice(("", "x", "\ud800", "__class__", "steps", "a" * 300))] = holder.pop(key)
        elif kind == 1 and isinstance(holder, dict) and len(holder) > 1:
            del holder[key]
        elif kind == 2 and isinstance(holder[key], str):
            holder[key] = self.text(holder[key])
        elif kind == 3:
            holder[key] = [deepcopy(holder[key])] * self.random.choice((1, 2, 25))
        else:
            holder[key] = deepcopy(self.random.choice(VALUES))

    def _keys(self, holder: Any) -> list[Any]:
        return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


Check = Callable[[Mutator], None]
