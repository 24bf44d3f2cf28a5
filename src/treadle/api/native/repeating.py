"""The Idempotency-Key of a call."""

import hashlib
import json
from collections.abc import Mapping

from starlette.requests import Request

from treadle.api.bodies import header
from treadle.domain.errors import InvalidInput
from treadle.services.runs import Repeatable

MAX_IDEMPOTENCY_KEY = 255


def repeatable_of(request: Request, kind: str, asked: Mapping[str, object]) -> Repeatable | None:
    """None without a key. `asked`: what a repeat asks for too, of that `kind`. Raises InvalidInput."""
    key = header(request, b"idempotency-key", "\0")
    if key == "\0":  # which no header holds
        return None
    if not (0 < len(key) <= MAX_IDEMPOTENCY_KEY and key.isascii() and key.isprintable()):
        raise InvalidInput({"Idempotency-Key": [f"Must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters."]})
    text = json.dumps(asked, sort_keys=True)
    return Repeatable(key, hashlib.sha256(f"{key}\0{kind}\0{text}".encode()).hexdigest())
