"""Where messages go, and where they do not: private addresses, names that change their mind, redirects."""

import socket
from collections.abc import AsyncIterator

import httpx2
import pytest
from tests.support.ports import ReservedPort
from tests.support.webhooks import Receiver

from treadle.messengers import posting
from treadle.messengers.posting import Posting

pytestmark = pytest.mark.anyio


@pytest.fixture
async def careful() -> AsyncIterator[Posting]:
    made = Posting(allow_private_hosts=False, environment={})
    yield made
    await made.close()


@pytest.fixture
async def anywhere() -> AsyncIterator[Posting]:
    made = Posting(allow_private_hosts=True, environment={})
    yield made
    await made.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "2130706433"]
)
async def test_private_hosts_are_refused(careful: Posting, host: str) -> None:
    reply = await careful.post(f"https://{host}/", b"{}", {})
    assert reply.status is None
    assert reply.error is not None
    assert "private address" in reply.error or "cannot be found" in reply.error


async def test_http_is_refused_where_private_hosts_are(careful: Posting) -> None:
    with Receiver() as receiver:
        reply = await careful.post(receiver.url, b"{}", {})
        assert reply.error == "127.0.0.1 is not told over http, where anybody could read along."
        assert not receiver.told


async def test_a_name_is_looked_up_once_and_its_checked_address_is_connected_to(
    careful: Posting, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [("203.0.113.7",), ("127.0.0.1",)]
    asked, connected = list[str](), list[str]()

    async def look_up(host: str, _port: int, *, threads: object = None) -> tuple[str, ...]:
        asked.append(host)
        return answers.pop(0)

    async def handle(_self: object, request: httpx2.Request) -> httpx2.Response:
        connected.append(f"{request.url.host} {request.headers['host']} {request.extensions['sni_hostname']}")
        return httpx2.Response(200)

    monkeypatch.setattr("treadle.hosts.look_up", look_up)
    monkeypatch.setattr("treadle.hosts.are_public", lambda found: found == ("203.0.113.7",))
    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", handle)
    assert (await careful.post("https://rebinding.example/a?b=c", b"{}", {})).error is None
    assert (asked, connected) == (["rebinding.example"], ["203.0.113.7 rebinding.example rebinding.example"])
    # The next time it leads elsewhere: that is looked at, too.
    assert "private address" in str((await careful.post("https://rebinding.example/a", b"{}", {})).error)
    assert len(connected) == 1


async def test_redirects_are_not_followed(anywhere: Posting) -> None:
    with Receiver() as other, Receiver(lambda _: 307) as receiver:
        receiver.headers["location"] = other.url
        reply = await anywhere.post(receiver.url, b"{}", {})
        assert reply.error == "127.0.0.1 sends on elsewhere (HTTP 307), which is not followed."
        assert not other.told


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("120", 120.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("soon", None), ("-1", None), ("nan", None)],
)
async def test_what_a_receiver_asks_for(anywhere: Posting, said: str, seconds: float | None) -> None:
    with Receiver(lambda _: 503, headers={"Retry-After": said}) as receiver:
        reply = await anywhere.post(receiver.url, b"{}", {})
    assert (reply.status, reply.wait_seconds, reply.is_gone) == (503, seconds, False)
    assert reply.error == "127.0.0.1 answers with HTTP 503."


async def test_gone_is_gone(anywhere: Posting) -> None:
    with Receiver(lambda _: 410) as receiver:
        assert (await anywhere.post(receiver.url, b"{}", {})).is_gone


async def test_one_who_does_not_answer_and_one_who_is_not_there(
    anywhere: Posting, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, monkeypatch.context() as patch:
        patch.setattr(posting, "SEND_SECONDS", 0.2)
        port = silent.getsockname()[1]
        assert "did not answer" in str((await anywhere.post(f"http://127.0.0.1:{port}/", b"{}", {})).error)
    with ReservedPort() as nobody:
        answer = await anywhere.post(f"http://127.0.0.1:{nobody.number}/", b"{}", {})
    assert "cannot be reached" in str(answer.error)


@pytest.mark.parametrize("url", ["ftp://a.example/", "https://a.example:99999/", "nothing", "http://[::1"])
async def test_what_is_no_address(anywhere: Posting, url: str) -> None:
    assert (await anywhere.post(url, b"{}", {})).error == "The address is none of http or https."
