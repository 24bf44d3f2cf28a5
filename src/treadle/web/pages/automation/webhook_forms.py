"""The form of a webhook: who is told, and of what."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from starlette.datastructures import FormData

from treadle.domain.errors import InvalidInput
from treadle.domain.messages import Filter, MessageType, Webhook, WebhookKind
from treadle.web.forms import Form, is_checked, lines_of, number_of

KINDS: Final = (
    (WebhookKind.WEBHOOK, "Webhook: a signed HTTP request"),
    (WebhookKind.SLACK, "Slack: an incoming webhook, or one compatible with it"),
    (WebhookKind.EMAIL, "E-mail"),
)

STATUSES: Final = ("Success", "Failed", "Killed")

#: What may be a secret itself is not sent back.
SECRET: Final = ("target",)

#: The form's fields in their order, each with what the service calls it.
FIELDS: Final[Mapping[str, str]] = {
    "kind": "kind",
    "name": "name",
    "target": "target",
    "type": "filter.types",
    "status": "filter.statuses",
    "repositories": "filter.repositories",
}

#: What happens, by what it happens to; a test is sent to whom it is about alone.
TYPES: Final[Sequence[tuple[str, Sequence[MessageType]]]] = tuple(
    (family, tuple(found))
    for family, found in groupby(
        (each for each in MessageType if each is not MessageType.WEBHOOK_TEST), lambda each: each.split(".")[0]
    )
)

BLANK: Final = Form("webhook", {"kind": WebhookKind.WEBHOOK})


def as_it_is(webhook: Webhook, names: Mapping[int, str]) -> Form:
    """`names`: of repositories, by their ids."""
    wanted = webhook.filter
    values = {
        "name": webhook.name,
        "repositories": "\n".join(names.get(each, f"#{each}") for each in wanted.repositories),
        **{f"type-{each}": "1" for each in wanted.types},
        **{f"status-{each}": "1" for each in wanted.statuses},
    }
    return Form("webhook", values)


def filter_of(form: FormData, names: Mapping[int, str], sources: tuple[str, ...] = ()) -> Filter:
    """What the form asks for. `sources` have no field: they stay. Raises InvalidInput."""
    offered = [name for family, found in TYPES for name in (f"{family}.*", *map(str, found))]
    return Filter(
        tuple(name for name in offered if is_checked(form, f"type-{name}")),
        _repositories(lines_of(form, "repositories"), names),
        tuple(name for name in STATUSES if is_checked(form, f"status-{name}")),
        sources,
    )


def _repositories(text: str, names: Mapping[int, str]) -> tuple[int, ...]:
    known, found, unknown = {name: id_ for id_, name in names.items()}, list[int](), list[str]()
    for name in dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()):
        # One that is gone from the list stands there by its id.
        id_ = known.get(name) or (number_of(name[1:]) if name.startswith("#") else None)
        if id_ is None:
            unknown.append(name)
        else:
            found.append(id_)
    if unknown:
        raise InvalidInput({"filter.repositories": [f"There is no repository {', '.join(unknown)[:200]}."]})
    return tuple(found)
