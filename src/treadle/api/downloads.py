"""Stored bytes as responses: small ones at once, large ones as they are read."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from treadle.services.content import Content

#: Up to this many bytes are held in memory.
AT_ONCE_BYTES = 1 << 18

#: For bytes that somebody uploaded: a browser keeps them apart from us, whatever they are.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
}


async def download(
    content: Content, *, media_type: str, headers: Mapping[str, str] | None = None, head: bytes = b"", tail: bytes = b""
) -> Response:
    """`content` between `head` and `tail`. Raises NotFound before anything is sent."""
    # As a header, or Starlette would claim that every text is UTF-8.
    given = {"Content-Type": media_type, **(headers or {})}
    if content.size <= AT_ONCE_BYTES:
        return Response(b"".join((head, await content.read(), tail)), headers=given)
    chunks = content.stream()
    first = await anext(chunks, b"")
    given["Content-Length"] = str(len(head) + content.size + len(tail))
    return StreamingResponse(_joined(head + first, chunks, tail), headers=given)


def attachment(name: str) -> str:
    """A `Content-Disposition` under which no browser shows the file itself (RFC 6266)."""
    plain = "".join(character if " " <= character <= "~" and character not in '"\\%' else "_" for character in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def _joined(head: bytes, chunks: AsyncIterator[bytes], tail: bytes) -> AsyncGenerator[bytes, None]:
    yield head
    async for chunk in chunks:
        yield chunk
    if tail:
        yield tail
