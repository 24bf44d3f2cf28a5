"""HTTP requests as Standard Webhooks has them: https://www.standardwebhooks.com."""

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Mapping, Sequence

from treadle.messengers.posting import Posting
from treadle.ports.webhooks import Letter, Reply

#: What a signing secret begins with; behind it is base64.
PREFIX = "whsec_"


class WebhookMessenger:
    def __init__(self, posting: Posting) -> None:
        self._posting = posting

    async def send(self, letter: Letter) -> Reply:
        body = json.dumps(letter.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        at = math.floor(letter.sent.timestamp())
        return await self._posting.post(letter.target, body, signed(letter.id, at, body, letter.secrets))

    async def close(self) -> None:
        await self._posting.close()


def signed(message_id: str, at: int, body: bytes, secrets: Sequence[str]) -> Mapping[str, str]:
    """The headers: a signature by each of the secrets. `at`: in seconds since 1970."""
    content = f"{message_id}.{at}.".encode() + body
    signatures = (
        base64.b64encode(hmac.digest(base64.b64decode(each.removeprefix(PREFIX)), content, hashlib.sha256)).decode()
        for each in secrets
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
