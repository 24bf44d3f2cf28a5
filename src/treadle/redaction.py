"""Takes secrets out of text: as they are, and in the forms in which tools print them. Pure."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from treadle.domain.credentials import EngineCredential, GitCredentials
from treadle.domain.events import JsonObject, JsonValue

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
#: Where tools break base64: PEM and MIME.
_WRAPS = (64, 76)
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


class Redactor:
    """Replaces secrets by `***`: as given, in base64 (at every alignment, in both alphabets), percent-encoded, escaped
    as in JSON, HTML or a Python literal, and each line of a multi-line one. Immutable, and so safe in threads."""

    __slots__ = ("_needles", "_pattern")

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret.strip())}
        # Longest first: where two begin at the same place, the one that hides more wins.
        patterns = sorted((pattern for pattern, _ in forms), key=lambda pattern: (-len(pattern), pattern))
        self._pattern = re.compile("|".join(patterns)) if patterns else None
        # A plain search is many times faster than the pattern, and most texts hold no secret.
        self._needles = tuple(dict.fromkeys(needle for _, needle in forms))

    def __bool__(self) -> bool:
        return self._pattern is not None

    def text(self, text: str) -> str:
        """`text` without the secrets."""
        if self._pattern is None or not any(needle in text for needle in self._needles):
            return text
        return self._pattern.sub(MASK, text)

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


def _forms(secret: str) -> Iterator[tuple[str, str]]:
    """Pairs of a regular expression, and a text that is in whatever it matches."""
    if len(secret) < MIN_LENGTH:
        return
    if len(secret) < MIN_ANYWHERE:
        yield rf"{_WORD_BEGINS}{_spelled(secret)}(?![A-Za-z0-9])", _needle(secret)
        return
    lines = [line.strip() for line in re.split(r"[\r\n]+", secret)]
    if len(lines) > 1:
        for line in lines:
            if len(line) >= _MIN_LINE and not line.startswith("-----"):
                yield _spelled(line), _needle(line)
    else:
        yield _spelled(secret), _needle(secret)
    for text in {secret, f"{secret}\n"}:  # `echo secret | base64`
        for code in _base64_cores(text.encode()):
            for spelling in {code, code.replace("+", "-").replace("/", "_")}:
                yield _base64_pattern(spelling), spelling[:_BASE64_HEAD]
        code = base64.b64encode(text.encode()).decode()
        for width in _WRAPS:
            for start in range(width, len(code) - _MIN_LINE, width):
                piece = code[start : start + width]
                yield _base64_pattern(piece), piece[:_BASE64_HEAD]


def _base64_cores(raw: bytes) -> Iterator[str]:
    """What base64 of any text with `raw` in it shows of `raw`, for the three ways it may be aligned; without the
    characters that also hold bits of a neighbour."""
    for shift in range(3):
        code = base64.b64encode(bytes(shift) + raw).decode()
        yield code[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6]


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
