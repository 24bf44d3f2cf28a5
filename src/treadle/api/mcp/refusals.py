"""What is said of a body that is no message of the protocol: MCP's package repeats it there, and its parser's words."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.types import Message, Send

#: For codes of JSON-RPC that are answered before there is a request.
_SAID: Final[Mapping[object, str]] = {
    -32700: "This is no JSON.",
    -32602: "This is no message of JSON-RPC 2.0.",
}


def in_words_of_ours(send: Send) -> Send:
    """Holds an answer of 400 back until it is whole."""
    start: Message | None = None
    held = bytearray()

    async def worded(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and message["status"] == HTTPStatus.BAD_REQUEST:
            start = message
            return
        if start is None:
            await send(message)
            return
        held.extend(message.get("body", b""))
        if message.get("more_body", False):
            return
        body = _worded(bytes(held))
        headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    return worded


def _worded(body: bytes) -> bytes:
    """As it is, unless it answers no request."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    error = answer.get("error") if isinstance(answer, dict) and answer.get("id") is None else None
    if not isinstance(error, dict) or (code := error.get("code")) not in _SAID:
        return body
    return json.dumps({**answer, "error": {"code": code, "message": _SAID[code]}}, separators=(",", ":")).encode()
