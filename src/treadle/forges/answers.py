"""What forges answer: how long a rate limit asks to wait, what a refusal says, and what became of a pull request."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, JsonValue

from treadle import outward
from treadle.domain.errors import ForgeAuthenticationFailed, ForgeError
from treadle.domain.repository import PullRequestState

#: How much of a forge's own words an error repeats, in characters.
MAX_REASON = 300

#: What a forge asks to wait that limits without saying for how long, in seconds; GitHub documents a minute.
UNSAID_SECONDS = 60.0

#: Statuses of trouble that may be over soon.
PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

_LIMITING = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})

_LAST_PAGE = re.compile(r"<[^<>]*[?&]page=([0-9]{1,9})(?:&[^<>]*)?>; *rel=\"last\"")
_COUNT = re.compile(r"[0-9]{1,9}")

#: A link that a page may show: never `javascript:`.
Link = Annotated[str, Field(pattern=r"^https?://[^\s\"'<>]+$", max_length=2_000)]

#: Of a pull request; one that every database holds.
Number = Annotated[int, Field(ge=1, le=1 << 53)]

Title = Annotated[str, Field(max_length=10_000)]


class Shape(BaseModel):
    """Of an answer; what else is in it is passed over."""


class Dated(Shape):
    created_at: AwareDatetime

    @property
    def date_created(self) -> datetime:
        return self.created_at.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers`: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_elsewhere(self) -> bool:
        return HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST and "location" in self.headers

    @property
    def is_passing_trouble(self) -> bool:
        return self.status in PASSING


class Refused(ForgeError):
    """The forge understood, and will not do it."""

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Unsure(ForgeError):
    """No answer came, or one of passing trouble: what was asked for may have happened."""


def wait_of(answer: Answer, now: datetime) -> float | None:
    """Seconds until the forge may be asked again; None when it does not limit. GitHub says 403 or 429 with
    `retry-after`, or `x-ratelimit-remaining: 0` and `x-ratelimit-reset` in seconds since 1970, or only in words
    (docs.github.com, Rate limits for the REST API); GitLab 429 with `Retry-After` or `RateLimit-Reset`
    (docs.gitlab.com, User and IP rate limits)."""
    if answer.status not in _LIMITING:
        return None
    if (said := _retry_after(answer, now)) is not None:
        return said
    for prefix in ("x-ratelimit", "ratelimit"):
        if answer.headers.get(f"{prefix}-remaining") == "0":
            reset = outward.number(answer.headers.get(f"{prefix}-reset"))
            return max(0.0, reset - now.timestamp()) if reset is not None else UNSAID_SECONDS
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or "rate limit" in reason(answer).lower():
        return UNSAID_SECONDS
    return None


def pause_of(answer: Answer, now: datetime) -> float:
    """Seconds that an answer of passing trouble asks to wait; 0 when it does not say."""
    return _retry_after(answer, now) or 0.0


def last_page_of(answer: Answer, size: int) -> int | None:
    """Of a list of which this is the first page, with `size` items. GitHub says it by a link to it (docs.github.com,
    Using pagination in the REST API); Gitea by the number of all items."""
    if (link := _LAST_PAGE.search(answer.headers.get("link", ""))) is not None:
        return int(link[1])
    total = answer.headers.get("x-total-count", "")
    return -(-int(total) // size) if size and _COUNT.fullmatch(total) else None


def refusal(answer: Answer, host: str, token: str) -> ForgeError:
    """The error that says what the forge said, without the token."""
    said = reason(answer).replace(token, "***")
    words = f": {said}." if said else f" (HTTP {answer.status})."
    match answer.status:
        case HTTPStatus.UNAUTHORIZED:
            return ForgeAuthenticationFailed(
                f"{host} does not accept the repository's token{words}",
                hint="`treadle admin repo update` gives it another one.",
            )
        case HTTPStatus.FORBIDDEN:
            return ForgeAuthenticationFailed(
                f"{host} does not allow this to the repository's token{words}",
                hint="It needs to read the repository and to write pull requests.",
            )
        case HTTPStatus.NOT_FOUND:
            return Refused(
                f"{host} has no such repository, branch or pull request, or does not show it to the token{words}",
                status=answer.status,
                hint="The repository's address must end with its OWNER/NAME there.",
            )
        case status if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return Refused(
                f"{host} answers with a redirect, which is not followed.",
                status=answer.status,
                hint="The repository may have another name by now, or the API another address.",
            )
        case _:
            return Refused(f"{host} refuses it{words}", status=answer.status)


def reason(answer: Answer) -> str:
    """The forge's own words in one line. GitHub: `message`, and `errors` of texts or of objects with `message`, or
    `field` and `code`. GitLab: `message` (text, list, or lists by field), or `error`. Gitea: `message`."""
    try:
        found: JsonValue = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(found, dict):
        return ""
    said = [text for key in ("message", "error", "errors") for text in _texts(found.get(key))]
    line = " ".join("; ".join(dict.fromkeys(said)).split())
    shown = "".join(character for character in line if character.isprintable()).rstrip(".")
    return shown if len(shown) <= MAX_REASON else f"{shown[:MAX_REASON]}…"


def state_of(*, is_open: bool, is_merged: bool, is_draft: bool) -> PullRequestState:
    if is_merged:
        return PullRequestState.MERGED
    if not is_open:
        return PullRequestState.CLOSED
    return PullRequestState.DRAFT if is_draft else PullRequestState.OPEN


def _texts(value: JsonValue) -> list[str]:
    """No deeper than any forge nests them."""
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value[:10] for text in _item(item)]
        case dict():
            return [
                f"{name} {item}"
                for name, items in list(value.items())[:10]
                for item in (items if isinstance(items, list) else [items])
                if isinstance(item, str)
            ]
        case _:
            return []


def _item(item: JsonValue) -> list[str]:
    if isinstance(item, str):
        return [item]
    if not isinstance(item, dict):
        return []
    if isinstance(message := item.get("message"), str):
        return [message]
    parts = [part for part in (item.get("field"), item.get("code")) if isinstance(part, str)]
    return [" is ".join(parts)] if parts else []


def _retry_after(answer: Answer, now: datetime) -> float | None:
    return outward.retry_after(answer.headers.get("retry-after", ""), now)
