"""Requests, read with bounds: bodies, numbers in the query, what the client accepts."""

from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request

from treadle.api.problems import Problem, ProblemRaised
from treadle.domain.errors import InvalidInput, TooLarge

#: More digits than any number here has.
_MAX_DIGITS = 18


async def read_json(request: Request, limit: int) -> bytes:
    """The body of a JSON request. Raises TooLarge past `limit` bytes, and ProblemRaised (415) for other types."""
    media_type = header(request, b"content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        detail = f"This takes application/json, not {media_type[:100] or 'nothing'}."
        raise ProblemRaised(Problem(415, "unsupported_media_type", detail, headers={"Accept": "application/json"}))
    return await read_bytes(request, limit)


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body, whatever it is. Raises TooLarge past `limit` bytes."""
    refuse_longer(request, limit)
    chunks, size, is_more = list[bytes](), 0, True
    while is_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        is_more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def header(request: Request, name: bytes, default: str = "") -> str:
    """The first header of that name, in lower case as ASGI has them. Starlette's mapping takes longer than a handler
    may."""
    for key, value in request.scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return default


def refuse_longer(request: Request, limit: int, error: TooLarge | None = None) -> None:
    """Raises TooLarge (or `error`) for a body that says itself that it is longer, before any of it is read."""
    declared = header(request, b"content-length")
    if declared.isdecimal() and int(declared[:_MAX_DIGITS]) > limit:
        raise error or _too_large(limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request is larger than {limit:,} bytes.")


class Query:
    """Reads the query's parameters and collects every fault; `check` raises them."""

    def __init__(self, request: Request) -> None:
        self._parameters = request.query_params
        self.faults: dict[str, list[str]] = {}

    def number(self, name: str, *, default: int, least: int, most: int | None = None) -> int:
        """A whole number from `least` to `most`."""
        text = self._parameters.get(name)
        if text is None:
            return default
        number = whole_number(text)
        if number is None or number < least or (most is not None and number > most):
            span = f"from {least:,} to {most:,}" if most is not None else f"of at least {least}"
            self.faults.setdefault(name, []).append(f"Must be a whole number {span}.")
            return default
        return number

    def texts(self, name: str) -> Sequence[str]:
        """All values of a parameter that may be repeated, or hold several divided by commas."""
        return [part.strip() for value in self._parameters.getlist(name) for part in value.split(",") if part.strip()]

    def check(self) -> None:
        """Raises InvalidInput."""
        if self.faults:
            raise InvalidInput(self.faults)


def whole_number(text: str) -> int | None:
    """The number that `text` is, if it is one of ASCII digits alone."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None


def preferred(accept: str, offers: Sequence[str]) -> str:
    """The offer that the `Accept` header likes best; of equal ones, and when none is acceptable, the first."""
    if not accept or accept == "*/*":
        return offers[0]
    ranges = [_range(part) for part in accept.split(",")]

    def quality(offer: str) -> float:
        fitting = [
            (specific, q) for kind, q in ranges for specific, name in enumerate(_covering(offer)) if kind == name
        ]
        return max(fitting)[1] if fitting else 0.0

    return max(offers, key=quality)


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return kind, float(quality)
    except ValueError:
        return kind, 0.0


def _covering(offer: str) -> tuple[str, str, str]:
    """The ranges that cover a media type, the least specific first."""
    return "*/*", f"{offer.partition('/')[0]}/*", offer
