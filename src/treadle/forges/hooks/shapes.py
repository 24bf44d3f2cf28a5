"""What the bodies of all forges' deliveries have in common, and how one becomes a Delivery."""

import hashlib
import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from treadle.domain.deliveries import Check, CheckFailed, CheckKind, CheckPassed, Delivery, Event, Ignored, Person
from treadle.domain.errors import InvalidInput
from treadle.domain.repository import ForgeKind
from treadle.forges.answers import Number, Shape

#: Longest id of a delivery, in characters.
MAX_DELIVERY_ID = 200

#: How much of what a check says of itself is kept, in characters; its log has the rest.
MAX_SAID = 2_000

#: Events of one delivery: a commit may be on many branches, an issue have many labels.
MAX_EVENTS = 100

#: Faults that are named of a body that is not the forge's.
MAX_FAULTS = 5

_LINK = re.compile(r"https?://[^\s\"'<>]+")
_FAILED = frozenset({"failure", "failed", "error", "timed_out", "startup_failure"})
_PASSED = frozenset({"success", "passed", "neutral"})

#: What a person wrote. No database of ours keeps a NUL in a text.
Text = Annotated[
    str,
    BeforeValidator(lambda value: "" if value is None else value),
    AfterValidator(lambda text: text.replace("\0", "")),
]

#: A name that something is found by.
Name = Annotated[Text, Field(min_length=1, max_length=1_000)]

Sha = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")]

#: An address that anybody may have chosen; no link is none.
MaybeLink = Annotated[
    str | None,
    AfterValidator(lambda text: text if text is not None and len(text) <= 2_000 and _LINK.fullmatch(text) else None),  # noqa: PLR2004 - as answers.Link
]


class Told(Shape):
    """The body of one kind of event."""

    @abstractmethod
    def events(self) -> list[Event]:
        """What it tells."""

    @abstractmethod
    def place(self) -> tuple[str, str]:
        """The repository's name and the forge's id of it."""

    @abstractmethod
    def by(self) -> Person | None:
        """Who made it happen."""


def read(
    kind: ForgeKind, shapes: Mapping[str, type[Told]], event: str | None, id_: str | None, body: bytes
) -> Delivery:
    """Raises InvalidInput."""
    if not event or not id_ or len(id_) > MAX_DELIVERY_ID or not (id_.isascii() and id_.isprintable()):
        raise InvalidInput({"headers": ["name no event, or no delivery"]}, f"This is no delivery of {kind.value}.")
    shape = shapes.get(event, Other)
    try:
        told = shape.model_validate_json(body)
        events = told.events()[:MAX_EVENTS]
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[:MAX_FAULTS]
        faults = [_words(fault, kind) for fault in found]
        raise InvalidInput({"payload": faults}, f"This is no delivery of {kind.value}.") from None
    name, repository_id = told.place()
    digest = hashlib.sha256(body).hexdigest()
    shown = event if event.isprintable() and len(event) <= MAX_DELIVERY_ID else "another event"
    return Delivery(
        id_, digest, kind, name, repository_id, told.by(), tuple(events) or (Ignored(f"Nothing follows from {shown}."),)
    )


def _words(fault: ErrorDetails, kind: ForgeKind) -> str:
    """Not the parser's."""
    if fault["type"] == "json_invalid":
        is_deep = "recursion" in str(fault.get("ctx", {}).get("error"))
        return "Is nested too deeply." if is_deep else "Is no JSON."
    said = "Is required." if fault["type"] == "missing" else f"Is not what {kind.value} sends."
    path = ".".join(map(str, fault["loc"]))
    return f"{path}: {said}" if path else said


class Other(Told):
    """An event that nothing here follows from: it is not looked at."""

    def events(self) -> list[Event]:
        return []

    def place(self) -> tuple[str, str]:
        return "", ""

    def by(self) -> Person | None:
        return None


def outcome(check: Check, conclusion: str | None) -> Event:
    """`conclusion`: GitHub's, GitLab's and Gitea's words differ, and mean the same where they do not."""
    if conclusion in _FAILED:
        return CheckFailed(check)
    if conclusion in _PASSED:
        return CheckPassed(check)
    return Ignored("The check has neither passed nor failed.")


def check_of(
    kind: CheckKind,
    id_: int | str,
    name: str,
    *,
    app: str | None,
    branch: str | None,
    sha: str,
    url: str | None,
    conclusion: str | None,
    said: str = "",
) -> Event:
    if not branch:
        return Ignored("The check ran on no branch of this repository.")
    return outcome(Check(kind, str(id_), name, app, branch, sha, url, said[:MAX_SAID]), conclusion)


__all__ = ["MaybeLink", "Name", "Number", "Other", "Sha", "Shape", "Text", "Told", "check_of", "outcome", "read"]
