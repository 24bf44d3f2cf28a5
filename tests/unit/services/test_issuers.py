"""The setting of trusted issuers, and reading their keys over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from treadle.domain.errors import ConfigurationError
from treadle.services import issuers
from treadle.services.issuers import fetch_jwks, read_issuers


def test_the_setting() -> None:
    assert read_issuers(None) == ()
    (one,) = read_issuers('[{"issuer": "https://a.example", "jwksUrl": "https://a.example/keys", "audience": "t"}]')
    assert (one.issuer, str(one.jwks_url), one.audience) == ("https://a.example", "https://a.example/keys", "t")


@pytest.mark.parametrize("text", ["", "{}", "[{}]", '[{"issuer": "a", "jwksUrl": "file:///etc/passwd"}]', "[1"])
def test_a_bad_setting_says_what_is_wrong(text: str) -> None:
    with pytest.raises(ConfigurationError, match="TREADLE_JWT_ISSUERS"):
        read_issuers(text)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Answers every request so, and then closes; an empty answer is none, until the end."""
    is_over, is_asked, served = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_asked.set()
        with suppress(asyncio.IncompleteReadError):  # it gave up before it asked
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if not answer:
                await is_over.wait()
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
        is_over.set()
        if is_asked.is_set():  # a client that gave up early may never have come
            await served.wait()


@pytest.mark.anyio
async def test_keys_are_read() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"keys":[]}') as url:
        assert await fetch_jwks(url) == b'{"keys":[]}'


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000,
        b"no http",
    ],
    ids=["500", "elsewhere", "large", "garbage"],
)
async def test_what_goes_wrong_is_one_kind_of_error(answer: bytes) -> None:
    async with answering(answer) as url:
        with pytest.raises(OSError, match="answer"):
            await fetch_jwks(url)


@pytest.mark.anyio
async def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuers, "FETCH_SECONDS", 0.05)
    async with answering(b"") as url:
        with pytest.raises(OSError, match="did not answer"):
            await fetch_jwks(url)
