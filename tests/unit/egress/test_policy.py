"""Who is let through, who is refused, and what the run is told of it."""

import ipaddress
import socket
from collections.abc import Sequence

import psutil
import pytest
from tests.unit.egress.scene import Door, Names, Told, answering, connect, door, echo, hang_up, server, status

from treadle.domain.errors import ConfigurationError
from treadle.domain.network import NetworkPolicy
from treadle.egress import EgressProxy, build, telling
from treadle.egress.reach import is_elsewhere
from treadle.hosts import Address, is_public
from treadle.ports.gateway import Connection
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

SPELLINGS = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7F.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.1."),
    *("[::1]", "[::]", "0", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[2002:7f00:1::]", "[fe80::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[fec0::1]", "[fd00:ec2::254]"),
    *("169.254.169.254", "0xa9fea9fe", "100.100.100.200", "192.0.0.192", "168.63.129.16", "10.0.0.1", "192.168.0.1"),
    *(
        "224.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
        "127.0.0.1%eth0",
        "1.2.3.4.5",
        "256.1.1.1",
        "0x",
        "1.2.3.0x7f000001",
    ),
    *("%31%32%37.0.0.1", "localhost", "LOCALHOST.", "a.localhost"),
]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_leads_into_the_house(spelling: str) -> None:
    """With the real look-up and the real judge, under the policy that allows most."""
    told = Told()
    async with EgressProxy().open(NetworkPolicy.parse("full"), told) as path:
        for request in (connect(spelling, 443), f"GET http://{spelling}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()):
            answer = await Door(path, told).say(request)
            assert status(answer) in {403, 502, 504}, answer
            assert status(answer) == 403 or spelling == "a.localhost", answer  # which may be nowhere
    assert [(each.address, each.refusal is None) for each in told.connections] == [(None, False)] * 2


@pytest.mark.parametrize("target", ["user@example.com:443", "example.com", "example.com:", ":443", "[]:443", "a:b:443"])
async def test_no_host_and_port(target: str) -> None:
    async with door() as here:
        assert status(await here.say(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())) == 400
        assert here.told.connections == []


@pytest.mark.parametrize("policy", ["none", "model", "allow:a.test,*.a.test:8443", "allow:*.x.test"])
async def test_what_the_policy_does_not_name(policy: str) -> None:
    names = Names()
    async with server(echo) as port, door(policy, names=names) as here:
        for host in ("a.test", "b.test", "127.0.0.1", "a.test.evil.example", "2130706433"):
            answer = await here.say(connect(host, port))
            assert status(answer) == 403
            assert b"network policy" in answer
            assert (b"is an address" in answer) == host[0].isdigit()
        assert [each.host for each in here.told.connections] == [
            *("a.test", "b.test", "127.0.0.1", "a.test.evil.example", "2130706433"),
        ]
    assert names.asked == []  # nor does a name server hear of it


async def test_what_the_policy_names() -> None:
    async with server(echo) as port, door(f"allow:a.test:{port},*.b.test:{port}") as here:
        for host in ("a.test", "A.test.", "x.y.b.test"):
            reader, writer = await here.tunnel(host, port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            await hang_up(writer)
        assert here.told.connections == [
            Connection(host, port, "127.0.0.1", None) for host in ("a.test", "a.test", "x.y.b.test")
        ]


async def test_rebinding_gains_nothing() -> None:
    """The first answer is checked and connected to. A second one, of this machine, is never asked for."""
    names = Names({"rebind.test": [["127.0.0.2"], ["127.0.0.1"]]})
    told, heard = Told(), list[bytes]()
    async with server(answering(b"HTTP/1.1 200 OK\r\n\r\nsecret", heard)) as port:
        proxy = EgressProxy(look_up=names.look_up, is_open=lambda address: str(address) == "127.0.0.2")
        async with proxy.open(NetworkPolicy.parse("full"), told) as path:
            here = Door(path, told)
            request = f"GET http://rebind.test:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            first = await here.say(request)
            assert names.asked == ["rebind.test"]
            assert status(first) == 502  # nobody listens at the address that was checked
            assert status(await here.say(request)) == 403
    assert heard == []
    assert [each.address for each in told.connections] == [None, None]


async def test_one_private_address_among_public_ones_is_enough() -> None:
    names = Names({"mixed.test": [["127.0.0.1", "10.0.0.1"]]})
    told = Told()
    async with server(echo) as port:
        proxy = EgressProxy(look_up=names.look_up, is_open=lambda address: address.is_loopback)
        async with proxy.open(NetworkPolicy.parse("full"), told) as path:
            assert status(await Door(path, told).say(connect("mixed.test", port))) == 403
            _, writer = await Door(path, told).tunnel("loopback.test", port)
            await hang_up(writer)


@pytest.mark.parametrize(
    ("answer", "is_reached"),
    [
        *((["10.255.0.9"], True), (["fd12::9"], True), (["127.0.0.1"], False), (["169.254.169.254"], False)),
        *((["100.100.100.200"], False), (["fd00:ec2::254"], False), (["::ffff:127.0.0.1"], False), (["::1"], False)),
        *((["fe80::1"], False), (["0.0.0.0"], False), (["224.0.0.1"], False), (["10.255.0.9", "127.0.0.1"], False)),
    ],
)
async def test_named_private_hosts(answer: Sequence[str], *, is_reached: bool) -> None:
    """They may be on private addresses, and on nothing that is worse; and the policy must allow them all the same."""
    reached = list[str]()
    told = Told()
    mirror = Names({"mirror.corp": [answer], "other.corp": [answer]})
    proxy = EgressProxy(private_hosts=frozenset({"mirror.corp"}), look_up=mirror.look_up, is_open=is_public)

    async def connected(address: Address, _: int) -> socket.socket:
        reached.append(str(address))
        raise ConnectionRefusedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treadle.egress.reach._connected", connected)
        for policy, host, may in (
            ("allow:mirror.corp", "mirror.corp", is_reached),
            ("full", "mirror.corp", is_reached),
            ("allow:other.corp", "mirror.corp", False),
            ("full", "other.corp", False),
        ):
            reached.clear()
            async with proxy.open(NetworkPolicy.parse(policy), told) as path:
                assert status(await Door(path, told).say(connect(host, 443))) == (502 if may else 403)
            assert reached == (answer if may else [])


def test_this_machines_own_addresses_are_not_elsewhere() -> None:
    """Not even where they are public: who listens here may trust whoever comes from here."""
    own = {
        ipaddress.ip_address(address.address)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    assert own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treadle.hosts.is_public", lambda _: True)
        assert not any(map(is_elsewhere, own))
        assert is_elsewhere(ipaddress.ip_address("192.0.2.1"))


async def test_what_cannot_be_reached() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        async with door() as here:
            assert status(await here.say(connect("a.nowhere.test", 443))) == 502
            assert status(await here.say(connect("a.test", port))) == 502
            assert [each.refusal for each in here.told.connections] == [
                "The host a.nowhere.test cannot be found.",
                f"a.test:{port} cannot be reached.",
            ]


async def test_the_next_address_when_one_does_not_answer() -> None:
    names = Names({"two.test": [["127.0.0.9", "127.0.0.1"]]})
    async with server(echo) as port, door(names=names) as here:
        _, writer = await here.tunnel("two.test", port)
        await hang_up(writer)
        assert here.told.connections == [Connection("two.test", port, "127.0.0.1", None)]


async def test_a_refused_host_is_told_once() -> None:
    async with door("allow:a.test") as here:
        await here.say(connect("b.test", 443))
        (told,) = here.told.connections
    assert told == Connection(
        "b.test", 443, None, "This run's network policy (allow:a.test) does not allow b.test:443."
    )


async def test_a_flood_of_connections_is_no_flood_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MAX_TOLD", 5)
    monkeypatch.setattr(telling, "MAX_KINDS", 8)
    async with server(echo) as port, door(f"allow:a.test:{port},*.c.test:{port}") as here:
        for _ in range(20):
            await here.say(connect("b.test", 443))
        assert [each.host for each in here.told.connections] == ["b.test"] * 5
        _, writer = await here.tunnel("a.test", port)  # another place is told all the same
        await hang_up(writer)
        assert len(here.told.connections) == 6
        for number in range(20):
            await here.say(connect(f"{number}.b.test", 443))
        assert len(here.told.connections) == 12
        assert status(await here.say(connect("new.c.test", port))) == 429  # what cannot be told is not made
        _, writer = await here.tunnel("a.test", port)  # what was told may go on
        await hang_up(writer)
        assert len(here.told.connections) == 12


async def test_a_connection_that_cannot_be_told_is_not_made() -> None:
    heard = list[bytes]()

    class Deaf(Told):
        async def __call__(self, _: Connection) -> None:
            raise ValueError("the database is away")

    async with server(answering(b"HTTP/1.1 200 OK\r\n\r\nx", heard)) as port, door(told=Deaf()) as here:
        assert await here.say(connect("a.test", port) + b"GET / HTTP/1.1\r\n\r\n") == b""
    assert heard == []


def test_private_hosts_are_plain_names() -> None:
    assert isinstance(build(Settings.load({}, egress_private_hosts=("Mirror.Corp.",))), EgressProxy)
    for text in ("*.corp.test", "mirror.corp:443", "10.0.0.1", "http://mirror.corp"):
        with pytest.raises(ConfigurationError):
            build(Settings.load({}, egress_private_hosts=(text,)))
