"""For receivers written in Python: `treadle.webhooks.verify` says whether what arrived is Treadle's, and reads it.

It needs nothing but the standard library. Any other library of Standard Webhooks does the same.
"""

import base64
import hashlib
import hmac
import json
import math
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["TOLERANCE_SECONDS", "NotVerifiedError", "verify"]

#: How far from now a message may have been sent, in seconds: one that somebody has recorded cannot be sent again later.
TOLERANCE_SECONDS = 300


class NotVerifiedError(ValueError):
    """It was not sent by whoever knows the secret, or not now, or it was changed."""


def verify(
    payload: bytes | str, headers: Mapping[str, str], secret: str, *, now: float | None = None
) -> Mapping[str, Any]:
    """What was sent: `type`, `timestamp` and `data`.

    Args:
        payload: The body as it arrived, before anybody has parsed it.
        headers: The request's, in either case.
        secret: `whsec_…`.
        now: Seconds since 1970; None: the clock's.

    Raises:
        NotVerifiedError: Answer with 400 and believe nothing of it.
    """
    given = {name.lower(): value for name, value in headers.items()}
    body = payload.encode() if isinstance(payload, str) else payload
    try:
        message_id, at = given["webhook-id"], int(given["webhook-timestamp"])
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (KeyError, ValueError):
        raise NotVerifiedError("A header of Standard Webhooks is missing, or the secret is none.") from None
    if not key:  # with which anybody could sign
        raise NotVerifiedError("The secret is empty.")
    passed = math.floor(time.time() if now is None else now) - at  # of whole numbers: whatever is given, it ends well
    if abs(passed) > TOLERANCE_SECONDS:
        raise NotVerifiedError("It was sent too long ago, or the clocks differ.")
    signed = f"{message_id}.{at}.".encode(errors="replace") + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    signatures = given.get("webhook-signature", "").split()
    if not any(hmac.compare_digest(expected, each.encode(errors="replace")) for each in signatures):
        raise NotVerifiedError("No signature is of this secret.")
    found: Mapping[str, Any] = json.loads(body)
    return found
