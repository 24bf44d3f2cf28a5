"""What hooks take in: verified on the bytes that came, kept once, answered before anything follows from it."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from treadle.domain.errors import InvalidInput, SealBroken, TooManyRequests, Unauthenticated
from treadle.domain.events import JsonObject
from treadle.domain.repository import ForgeKind
from treadle.domain.triggers import Hook, HookKind
from treadle.forges.hooks.signatures import is_signed, is_standard
from treadle.ports import Clock, Vault
from treadle.ports import hooks as hook_ports
from treadle.ports.directory import RateStore
from treadle.ports.triggers import Arrival, TriggerStore
from treadle.services.chores import Bell
from treadle.services.trigger_secrets import HookSecrets, url_token

#: Largest delivery, in bytes.
MAX_DELIVERY_BYTES = 5 << 20

#: Deliveries of one hook in a minute.
MAX_DELIVERIES_PER_MINUTE = 300

#: Characters of a delivery's id, and of its headers that are kept.
MAX_DELIVERY_ID = 200
MAX_DELIVERY_HEADER = 500

#: Headers that are read again when it is worked off.
_READ: Final = (
    "content-type", "idempotency-key", "webhook-id", "x-forgejo-delivery", "x-forgejo-event", "x-gitea-delivery",
    "x-gitea-event", "x-github-delivery", "x-github-event", "x-gitlab-event",
)  # fmt: skip

_EVENTS: Final = ("x-github-event", "x-forgejo-event", "x-gitea-event", "x-gitlab-event")

_UNKNOWN = Unauthenticated(
    "There is no such hook, or this is not signed with its secret.",
    hint="`treadle trigger rotate` makes another secret.",
)


class Store(TriggerStore, RateStore, Protocol):
    """Of the store, what is needed here."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """`is_new` False: it was there already, and nothing follows from it."""

    delivery_id: int
    is_new: bool


class Intake:
    def __init__(
        self,
        store: Store,
        vault: Vault,
        readers: Mapping[ForgeKind, hook_ports.Hook],
        clock: Clock,
        bell: Bell,
        *,
        new_uuid: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._vault = vault
        self._readers = readers
        self._clock = clock
        self._bell = bell
        self._new_uuid = new_uuid

    async def receive(self, uuid: str, headers: Mapping[str, str], token: str | None, body: bytes) -> Receipt:
        """`headers` by their names in lower case; `token`: the query's. Raises Unauthenticated, alike for a hook that
        does not exist, InvalidInput for what its forge does not send, TooManyRequests; nothing is kept then."""
        hook = await self._hook(uuid)
        if hook is None:
            raise _UNKNOWN
        arrival = self._verified(hook, headers, token, body)
        now = self._clock.now()
        admission = await self._store.admit(f"hook {hook.id}", limit=MAX_DELIVERIES_PER_MINUTE, seconds=60, now=now)
        if not admission.is_admitted:
            raise TooManyRequests(
                f"A hook takes {MAX_DELIVERIES_PER_MINUTE} deliveries in a minute.",
                retry_after=max(1, round(admission.retry_after)),
            )
        delivery_id, is_new = await self._store.add_delivery(hook.id, arrival, now)
        if is_new:
            self._bell.ring()
        return Receipt(delivery_id, is_new)

    async def _hook(self, uuid: str) -> Hook | None:
        try:
            return await self._store.hook(UUID(uuid))
        except ValueError:
            return None

    def _verified(self, hook: Hook, headers: Mapping[str, str], token: str | None, body: bytes) -> Arrival:
        now = self._clock.now()
        try:
            secrets = HookSecrets.open(self._vault, hook).holding(hook, now)
        except SealBroken:
            raise _UNKNOWN from None
        kept: JsonObject = {name: headers[name][:MAX_DELIVERY_HEADER] for name in _READ if name in headers}
        digest = hashlib.sha256(body).hexdigest()
        if hook.kind is HookKind.URL:
            is_signed_body = is_standard(headers, body, secrets, now) or _has_signature(headers, body, secrets)
            if not (is_signed_body or _has_token(hook, headers, token, secrets)):
                raise _UNKNOWN
            given = headers.get("webhook-id") or headers.get("idempotency-key")
            id_ = given or (f"sha256:{digest}" if is_signed_body else str(self._new_uuid()))
            # A call that has a name is known by it alone: CI says the same on many days.
            return Arrival(_id_of(id_), None, "call", kept, body)
        reader = self._readers[ForgeKind(hook.kind)]
        if not reader.verify(headers, body, secrets, now):
            raise _UNKNOWN
        event = next((headers[name] for name in _EVENTS if headers.get(name)), "")
        # Read once before it is kept: what no forge sends is refused, and seen where it was sent.
        delivery = reader.read(headers, body)
        return Arrival(_id_of(delivery.id), digest, event[:MAX_DELIVERY_HEADER], kept, body)


def _has_signature(headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...]) -> bool:
    scheme, _, given = headers.get("x-hub-signature-256", "").partition("=")
    return scheme == "sha256" and is_signed(given, body, secrets)


def _has_token(hook: Hook, headers: Mapping[str, str], token: str | None, secrets: tuple[str, ...]) -> bool:
    """The secret as a bearer, or in the query what a URL may hold of it."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else ""
    # Every one is compared, so that the time tells nothing.
    found = [hmac.compare_digest(given.encode(errors="replace"), secret.encode()) for secret in secrets]
    found += [
        hmac.compare_digest((token or "").encode(errors="replace"), url_token(secret, hook.uuid).encode())
        for secret in secrets
    ]
    return any(found)


def _id_of(text: str) -> str:
    if len(text) > MAX_DELIVERY_ID or not (text.isascii() and text.isprintable()):
        raise InvalidInput({"headers": [f"A delivery's id is at most {MAX_DELIVERY_ID} printable characters."]})
    return text
