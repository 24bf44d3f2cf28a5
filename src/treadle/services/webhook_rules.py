"""What a webhook may be: its name, its address and its filter."""

import base64
import secrets
from email.errors import HeaderParseError
from email.headerregistry import Address
from urllib.parse import urlsplit

from treadle.domain.messages import Filter, MessageType, WebhookKind, source_faults, type_faults
from treadle.hosts import is_private_literal

#: Of a name and an address, in characters; of one list of a filter, in entries; of an e-mail's recipients.
MAX_WEBHOOK_NAME = 100
MAX_WEBHOOK_TARGET = 2_000
MAX_FILTER_ENTRIES = 100
MAX_RECIPIENTS = 10

#: Of a signing secret.
_RANDOM = 32  # bytes

_STATUSES = ("Success", "Failed", "Killed")


def webhook_faults(
    kind: WebhookKind, name: str, target: str | None, wanted: Filter | None, *, allow_private_hosts: bool
) -> dict[str, list[str]]:
    """By the fields' names. `target`, `wanted` None: not given."""
    faults: dict[str, list[str]] = {}
    if not 0 < len(name) <= MAX_WEBHOOK_NAME or not name.isprintable():
        faults["name"] = [f"Must be 1 to {MAX_WEBHOOK_NAME} printable characters."]
    if target is not None:
        fault = (
            _mail_fault(target)
            if kind is WebhookKind.EMAIL
            else _address_fault(target, allow_private_hosts=allow_private_hosts)
        )
        if len(target) > MAX_WEBHOOK_TARGET:
            fault = f"Must be at most {MAX_WEBHOOK_TARGET:,} characters."
        if fault:
            faults["target"] = [fault]
    return faults if wanted is None else faults | _filter_faults(wanted)


def _address_fault(target: str, *, allow_private_hosts: bool) -> str | None:
    try:
        parts = urlsplit(target)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "Must be an https address."
    if parts.scheme == "http" and not allow_private_hosts:
        return "Must be an https address: over http anybody could read along."
    is_clear = target.isascii() and target.isprintable() and " " not in target
    if parts.scheme not in {"http", "https"} or not is_address or not is_clear or "@" in parts.netloc:
        return "Must be an https address, without a user or password."
    if not allow_private_hosts and is_private_literal(parts.hostname or ""):
        return f"The host {parts.hostname} is on a private address, which this service does not connect to."
    return None


def new_secret() -> str:
    """As Standard Webhooks has it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_RANDOM)).decode()}"


def shown(kind: WebhookKind, target: str) -> str:
    """What may be shown of an address: of one in the web its host, as its path may be a secret."""
    if kind is WebhookKind.EMAIL:
        return target
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc}/…"


def _mail_fault(target: str) -> str | None:
    each = [part.strip() for part in target.split(",")]
    if not 0 < len(each) <= MAX_RECIPIENTS:
        return f"Must be 1 to {MAX_RECIPIENTS} addresses, with commas between."
    for address in each:
        try:
            is_whole = bool(Address(addr_spec=address).domain)
        except (ValueError, IndexError, HeaderParseError):
            is_whole = False
        if not is_whole or not address.isascii() or not address.isprintable() or " " in address:
            return "Must be addresses of e-mail, with commas between."
    return None


def _filter_faults(wanted: Filter) -> dict[str, list[str]]:
    faults: dict[str, list[str]] = {}
    for name, found in (
        ("types", wanted.types),
        ("repositories", wanted.repositories),
        ("statuses", wanted.statuses),
        ("sources", wanted.sources),
    ):
        if len(found) > MAX_FILTER_ENTRIES:
            faults[f"filter.{name}"] = [f"Must be at most {MAX_FILTER_ENTRIES}."]
    if type_faults(wanted.types):
        faults["filter.types"] = [f"Must be some of {', '.join(MessageType)}, or such as run.*."]
    if any(each not in _STATUSES for each in wanted.statuses):
        faults["filter.statuses"] = [f"Must be some of {', '.join(_STATUSES)}."]
    if source_faults(wanted.sources):
        faults["filter.sources"] = ["Must be some of the sources of runs, such as API."]
    return faults
