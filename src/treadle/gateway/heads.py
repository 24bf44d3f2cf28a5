"""What a request's head may look like. Stricter than HTTP: whatever two parsers could read in two ways is refused."""

import re

from treadle.gateway.refusals import Malformed

#: Largest request line and headers together, in bytes.
MAX_HEAD_BYTES = 32 * 1024

#: Most headers of a request.
MAX_HEADERS = 100

#: A visible character first, so that no line goes on with the one before it; no control characters but the tab.
_LINE = re.compile(rb"[\x21-\x7e][\t\x20-\x7e\x80-\xff]*")
_REQUEST = re.compile(rb"[A-Z]{1,16} [\x21-\x7e]+ HTTP/1\.1")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,11}")
_HOST = re.compile(rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n|$)")

#: Named at most once; what comes twice, somebody reads the first of and somebody the last.
_ONCE = frozenset({b"authorization", b"content-length", b"expect", b"host", b"transfer-encoding", b"x-api-key"})


def check_ends(part: bytes) -> None:
    """Raises Malformed for a line that does not end in CR LF, even before the head is whole."""
    if _BARE.search(part):
        raise Malformed(400, "A line of the request does not end as HTTP says.")


def check(head: bytes) -> None:
    """What h11 does not: it refuses other transfer codings than `chunked`, and odd characters in names. `head` without
    its blank line. Raises Malformed."""
    request, *lines = head.split(b"\r\n")
    if not _REQUEST.fullmatch(request):
        raise Malformed(400, "The request line is not of HTTP/1.1.")
    if len(lines) > MAX_HEADERS:
        raise Malformed(431, f"The request has more than {MAX_HEADERS} headers.")
    found: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not _LINE.fullmatch(line) or (name in _ONCE and name in found):
            raise Malformed(400, "A header of the request is not as it has to be.")
        found[name] = value.strip(b" \t")
    _check_framing(found)


def _check_framing(found: dict[bytes, bytes]) -> None:
    length, coding = found.get(b"content-length"), found.get(b"transfer-encoding")
    if length is not None and coding is not None:
        raise Malformed(400, "The request gives its length in two ways.")
    if length is not None and not _LENGTH.fullmatch(length):
        raise Malformed(400, "The length of the request is no number.")
    if b"upgrade" in found or found.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise Malformed(501, "No other protocol is spoken here.")
    if not _HOST.fullmatch(found.get(b"host", b"")):
        raise Malformed(421, "This is the gateway to the model of one run, and no other host's.")
