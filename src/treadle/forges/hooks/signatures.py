"""Whether a delivery was signed with a secret, on the body as it arrived, in a time that tells nothing."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

#: How far the time that a signature carries may be from now, in seconds; as Standard Webhooks recommends.
SIGNATURE_SECONDS = 300

#: What a secret begins with that signs in the way of Standard Webhooks.
STANDARD = "whsec_"


def is_signed(given: str | None, body: bytes, secrets: Sequence[str]) -> bool:
    """`given`: HMAC-SHA256 of the body in hexadecimal."""
    return given is not None and any(
        _is_same(given, hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()) for secret in secrets if secret
    )


def is_token(given: str | None, secrets: Sequence[str]) -> bool:
    """`given`: the secret itself."""
    return given is not None and any(_is_same(given, secret) for secret in secrets if secret)


def is_standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> bool:
    """By `webhook-id`, `webhook-timestamp` and `webhook-signature` (standardwebhooks.com: `v1,` and base64 of the
    HMAC-SHA256 of `ID.TIMESTAMP.BODY`; several are divided by spaces)."""
    stamp = headers.get("webhook-timestamp", "")
    if not (stamp.isascii() and stamp.isdigit() and abs(int(stamp[:20]) - now.timestamp()) <= SIGNATURE_SECONDS):
        return False
    signed = f"{headers.get('webhook-id', '')}.{stamp}.".encode() + body
    expected = [f"v1,{_standard(key, signed)}" for key in map(_key, secrets) if key]
    return any(_is_same(given, one) for given in headers.get("webhook-signature", "").split() for one in expected)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(STANDARD), validate=True) if secret.startswith(STANDARD) else b""
    except (binascii.Error, ValueError):
        return b""


def _standard(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode(errors="replace"))
