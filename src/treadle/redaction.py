"""Takes secrets out of text: as they are, and in the forms in which tools print them. Pure."""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from treadle.domain.credentials import EngineCredential, GitCredentials
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.secret_scan import known_spans

MASK = "***"

#: A shorter secret is left alone: replacing every "git" would destroy the text and hide nothing worth hiding.
MIN_LENGTH = 4
#: A shorter one is replaced only where it stands as a word of its own, and not in base64.
MIN_ANYWHERE = 6

#: Characters that no encoding of text for a URL, JSON, HTML or a Python literal touches.
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
#: Also after an escape that ends in a letter: the n of "\\n" is no part of the word behind it.
_WORD_BEGINS = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f][0-9A-Fa-f]))"
_BASE64_RUN = r"[A-Za-z0-9+/_=-]*"
#: Of a long base64 text this much is compared; what follows in the same run goes with it.
_BASE64_HEAD = 48
#: Shortest line of a multi-line secret (a private key's body) that is a secret by itself.
_MIN_LINE = 8
#: Characters in which one may be written: those of four bytes in percent-encoding that was encoded twice more.
_SPELLING_WIDTH = 32
#: Where tools break base64: PEM and MIME.
_WRAPS = (64, 76)
#: Where `xxd -p` breaks hexadecimal, and the shortest line of it that is a secret by itself.
_HEX_WRAP = 60
_MIN_HEX = 16
_CONTROLS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_HTML = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
#: What stands in for a user or a password where the other half is the token.
_NO_PASSWORD = frozenset({"", "x-oauth-basic", "x-access-token", "oauth2"})


def secrets_of(git: GitCredentials | None = None, engine: EngineCredential | None = None) -> tuple[str, ...]:
    """Every text in a run's credentials that must never be seen.

    Of `user:password` that is the whole and the password; of `token:` and `token:x-oauth-basic` the token.
    """
    found: list[str] = []
    if git is not None and git.http:
        user, _, password = git.http.partition(":")
        found += [git.http, user if password in _NO_PASSWORD else password]
    if git is not None and git.ssh_key:
        found.append(git.ssh_key)
    if engine is not None:
        found += engine.secrets()
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Form:
    """One way in which a secret may be written. Whatever `pattern` gives matches, `needle` is in it, with at most
    `reach` characters on either side; None: with any number."""

    needle: str
    pattern: Callable[[], str]
    reach: int | None


class Redactor:
    """Replaces secrets by `***`: as given, in base64 (at every alignment, in both alphabets), in hexadecimal (all small
    or all capital; a secret of one line, alone, also broken as by `xxd -p`), percent-encoded, escaped as in JSON, HTML
    or a Python literal, and each line of a multi-line one. Safe in threads."""

    __slots__ = ("_compiled", "_forms")

    def __init__(self, secrets: Iterable[str]) -> None:
        # A plain search is many times faster than a pattern, and most texts hold no secret: a pattern is made when its
        # needle is first seen, and then looked for alone.
        self._forms: dict[str, list[_Form]] = {}
        for secret in dict.fromkeys(secret.strip() for secret in secrets):
            for form in _forms(secret):
                self._forms.setdefault(form.needle, []).append(form)
        self._compiled: dict[str, tuple[tuple[re.Pattern[str], int | None], ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._forms)

    def text(self, text: str) -> str:
        """`text` without the secrets."""
        spans = [span for needle in self._forms if needle in text for span in self._spans(needle, text)]
        return _masked(text, sorted(spans)) if spans else text

    def _spans(self, needle: str, text: str) -> Iterator[tuple[int, int]]:
        made = self._compiled.get(needle)
        if made is None:
            patterns = {form.pattern(): form.reach for form in self._forms[needle]}
            made = tuple((re.compile(pattern), reach) for pattern, reach in patterns.items())
            self._compiled[needle] = made
        for pattern, reach in made:
            for start, end in _windows(text, needle, reach):
                for match in pattern.finditer(text, start, end):
                    yield match.span()

    def value(self, value: JsonValue) -> JsonValue:
        """The same for every text inside a JSON value, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self.object(value)
        if isinstance(value, Sequence):
            return [self.value(item) for item in value]
        return value

    def object(self, value: JsonObject) -> JsonObject:
        """The same for a JSON object, such as an event's data."""
        return {self.text(key): self.value(item) for key, item in value.items()}


def without_known(text: str) -> str:
    """`text` without keys and tokens of well-known formats."""
    return _masked(text, known_spans(text.encode("ascii", errors="replace")))  # a byte for each character


def _windows(text: str, needle: str, reach: int | None) -> Iterator[tuple[int, int]]:
    """Where in `text` something with the needle in it can be, ascending and apart."""
    if reach is None or not needle:
        yield 0, len(text)
        return
    start, end, at = 0, -1, text.find(needle)
    while at >= 0:
        if at - reach > end:
            if end >= 0:
                yield start, end
            start = max(0, at - reach)
        end = at + len(needle) + reach
        at = text.find(needle, at + 1)
    yield start, min(end, len(text))


def _masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """`spans` ascending; of those that overlap nothing is left between."""
    kept, hidden = list[str](), 0
    for start, end in spans:
        if start >= hidden:
            kept += [text[hidden:start], MASK]
        hidden = max(hidden, end)
    return "".join([*kept, text[hidden:]])


def _forms(secret: str) -> Iterator[_Form]:
    if len(secret) < MIN_LENGTH:
        return
    if len(secret) < MIN_ANYWHERE:
        yield _spelled_form(secret, lambda text: rf"{_WORD_BEGINS}{_spelled(text)}(?![A-Za-z0-9])")
        return
    lines = [line.strip() for line in re.split(r"[\r\n]+", secret)]
    if len(lines) > 1:
        for line in lines:
            if len(line) >= _MIN_LINE and not line.startswith("-----"):
                yield _spelled_form(line, _spelled)
    else:
        yield _spelled_form(secret, _spelled)
    yield from _hex_forms(secret.encode(), is_one_line=len(lines) == 1)
    for text in {secret, f"{secret}\n"}:  # `echo secret | base64`
        for code in _base64_cores(text.encode()):
            for spelling in {code, code.replace("+", "-").replace("/", "_")}:
                yield _base64_form(spelling)
        code = base64.b64encode(text.encode()).decode()
        for width in _WRAPS:
            for start in range(width, len(code) - _MIN_LINE, width):
                yield _base64_form(code[start : start + width])


def _hex_forms(raw: bytes, *, is_one_line: bool) -> Iterator[_Form]:
    for code in {raw.hex(), raw.hex().upper()}:
        yield _Form(code[:_HEX_WRAP], partial(str, code), reach=len(code))
        for start in range(0, len(code), _HEX_WRAP) if is_one_line and len(code) > _HEX_WRAP else ():
            line = code[start : start + _HEX_WRAP]
            if len(line) >= _MIN_HEX:
                yield _Form(line, partial(str, line), reach=0)


def _base64_cores(raw: bytes) -> Iterator[str]:
    """What base64 of any text with `raw` in it shows of `raw`, for the three ways it may be aligned; without the
    characters that also hold bits of a neighbour."""
    for shift in range(3):
        code = base64.b64encode(bytes(shift) + raw).decode()
        yield code[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6]


def _spelled_form(text: str, pattern: Callable[[str], str]) -> _Form:
    return _Form(_needle(text), partial(pattern, text), reach=_SPELLING_WIDTH * len(text))


def _base64_form(code: str) -> _Form:
    return _Form(code[:_BASE64_HEAD], partial(_base64_pattern, code), reach=None)


def _base64_pattern(code: str) -> str:
    # The neighbouring characters may hold up to four bits of the secret each, so they go too.
    rest = _BASE64_RUN if len(code) > _BASE64_HEAD else "[A-Za-z0-9+/_-]?={0,2}"
    return f"[A-Za-z0-9+/_-]?{re.escape(code[:_BASE64_HEAD])}{rest}"


def _needle(secret: str) -> str:
    return max(_PLAIN.findall(secret), key=len, default="")


def _spelled(secret: str) -> str:
    """Matches `secret` however its special characters are escaped."""
    return "".join(
        re.escape(part) if _PLAIN.fullmatch(part) else _special(part)
        for part in re.findall(r"[A-Za-z0-9._~-]+|\\+|(?s:.)", secret)
    )


def _special(part: str) -> str:
    """One character, or a run of backslashes. Every repetition is bounded, so that no text makes the search slow."""
    character, count = part[0], len(part)
    percent = "".join(f"%(?:25){{0,2}}(?i:{byte:02x})" for byte in character.encode(errors="surrogatepass"))
    units = character.encode("utf-16-be", errors="surrogatepass").hex()
    escaped = "".join(rf"\\{{1,4}}u(?i:{units[at : at + 4]})" for at in range(0, len(units), 4))
    if character == "\\":
        return rf"(?:\\{{{count},{8 * count}}}|(?:{percent}){{{count}}}|(?:{escaped}){{{count}}})"
    found = [rf"\\{{0,4}}{re.escape(character)}", percent, escaped]
    # Python writes a text's character and a byte string's bytes so.
    found.append("".join(rf"\\{{1,4}}x(?i:{byte:02x})" for byte in character.encode(errors="surrogatepass")))
    found.append(rf"\\{{1,4}}(?:x(?i:{ord(character):02x})|U(?i:{ord(character):08x}))")
    if character == " ":
        found.append(r"\+")
    if character in _CONTROLS:
        found.append(rf"\\{{1,4}}{_CONTROLS[character]}")
    if character in _HTML:
        found.append(f"&(?:{_HTML[character]}|#0?{ord(character)}|#x(?i:{ord(character):x}));")
    return f"(?:{'|'.join(found)})"
