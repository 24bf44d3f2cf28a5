"""How much of an answer is read: all of it within a bound, or its end."""

from collections.abc import Awaitable, Callable
from functools import partial

import httpx2

from treadle.domain.errors import ForgeError

#: How much of a text is passed over to reach its end, in bytes.
MAX_TEXT_BYTES = 64 << 20

#: Takes an answer and its host's name; raises ForgeError and what the line raises.
Read = Callable[[httpx2.Response, str], Awaitable[bytes]]


class TooLong(ForgeError):
    """There is more of it than is read."""


def whole(most: int) -> Read:
    return partial(_whole, most=most)


def end(size: int) -> Read:
    return partial(_end, size=size)


async def _whole(answer: httpx2.Response, host: str, *, most: int) -> bytes:
    _check(answer, host)
    found = bytearray()
    async for chunk in answer.aiter_raw():
        found += chunk
        if len(found) > most:
            raise TooLong(f"{host} answers with more than {most:,} bytes.")
    return bytes(found)


async def _end(answer: httpx2.Response, host: str, *, size: int) -> bytes:
    _check(answer, host)
    found, passed = bytearray(), 0
    async for chunk in answer.aiter_raw():
        found += chunk
        passed += len(chunk)
        if passed > MAX_TEXT_BYTES:
            raise TooLong(f"{host} answers with more than {MAX_TEXT_BYTES:,} bytes.")
        del found[:-size]
    return bytes(found)


def _check(answer: httpx2.Response, host: str) -> None:
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise ForgeError(f"{host} answers in an encoding that was not asked for.")
