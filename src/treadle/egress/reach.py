"""Where a run's connections may go: its policy first, then each address that the name has."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from treadle import hosts
from treadle.domain.network import NetworkMode, NetworkPolicy
from treadle.egress.targets import Target, address_in
from treadle.hosts import Address

#: For a connection to one of a host's addresses, and to all of them together, in seconds.
CONNECT_SECONDS = 15.0

#: Names of one run that are looked up at once; more wait.
LOOK_UPS = 4

#: Characters of a policy that a refusal repeats.
_SHOWN_POLICY = 200

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
Judge = Callable[[Address], bool]

_FORBIDDEN, _BAD_GATEWAY, _GATEWAY_TIMEOUT = 403, 502, 504

#: Where an operator's own hosts may be, if they are named. Everything else that is not public stays out of reach.
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
#: Within those, clouds tell a machine its keys.
_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254")))


class Refused(Exception):
    """No connection is made: a sentence for the agent and the run's trace, and the answer's HTTP status."""

    def __init__(self, sentence: str, status: int = _FORBIDDEN) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status


def is_elsewhere(address: Address) -> bool:
    """Whether it is on the internet, and not this machine's own: what listens here may trust whoever comes from here.
    Sends nothing."""
    return hosts.is_public(address) and not _is_own(address)


@dataclass(frozen=True, slots=True)
class Reach:
    """One run's. `is_open` says of an address whether anybody may be let there; hosts named in `private_hosts` may also
    be on private addresses."""

    policy: NetworkPolicy
    look_up: LookUp
    is_open: Judge
    private_hosts: frozenset[str]
    look_ups: asyncio.Semaphore

    async def connect(self, target: Target, seconds: float) -> tuple[socket.socket, str]:
        """A connection to one of the host's addresses, and which. Raises Refused."""
        try:
            async with asyncio.timeout(seconds):
                return await self._first(target, await self._addresses(target))
        except TimeoutError:
            raise Refused(f"{target.host}:{target.port} does not answer.", _GATEWAY_TIMEOUT) from None

    async def _addresses(self, target: Target) -> Sequence[Address]:
        try:
            address = address_in(target.host)
        except ValueError:
            raise Refused(f"{target.host!a} is no name of a host.") from None
        if address is not None and self.policy.mode is not NetworkMode.FULL:
            raise Refused(f"{target.host} is an address; this run's network policy names hosts.")
        if not self.policy.permits(target.host, target.port):
            shown = str(self.policy)
            shown = shown if len(shown) <= _SHOWN_POLICY else f"{shown[:_SHOWN_POLICY]}…"
            raise Refused(f"This run's network policy ({shown}) does not allow {target.host}:{target.port}.")
        found = [address] if address is not None else await self._looked_up(target)
        if not all(self._may_reach(target.host, each) for each in found):
            raise Refused(f"{target.host} is on a private address or this machine's own, which no run may reach.")
        return sorted(found, key=lambda each: each.version)  # many machines reach no IPv6

    async def _looked_up(self, target: Target) -> list[Address]:
        try:
            async with self.look_ups:
                found = await self.look_up(target.host, target.port)
        except TimeoutError:
            raise
        except OSError:
            found = ()
        if not found:
            raise Refused(f"The host {target.host} cannot be found.", _BAD_GATEWAY)
        return [address for text in found if (address := address_in(text)) is not None]

    def _may_reach(self, host: str, address: Address) -> bool:
        if self.is_open(address):
            return True
        is_named = host in self.private_hosts and address not in _METADATA
        return is_named and any(address in network for network in _PRIVATE) and not _is_own(address)

    async def _first(self, target: Target, addresses: Sequence[Address]) -> tuple[socket.socket, str]:
        for address in addresses:
            with suppress(OSError):
                return await _connected(address, target.port), str(address)
        raise Refused(f"{target.host}:{target.port} cannot be reached.", _BAD_GATEWAY)


async def _connected(address: Address, port: int) -> socket.socket:
    made = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, (str(address), port))
    except BaseException:
        made.close()
        raise
    return made


def _is_own(address: Address) -> bool:
    """From the address itself the system reaches nothing but this machine."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as asked, suppress(OSError):
        asked.connect((str(address), 9))
        return ipaddress.ip_address(asked.getsockname()[0].partition("%")[0]) == address
    return False


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - of the protocol
