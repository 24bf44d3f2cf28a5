"""Which hosts the service may be sent to by a tenant's word. An address must not make it talk to the network it lives
in."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

#: How long a name may take to resolve, in seconds.
RESOLVE_SECONDS = 15.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")

#: What Python's own lists take for public.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # the protocols' own; a cloud's metadata are at 192.0.0.192
            "168.63.129.16/32",  # a cloud's metadata, reached from its machines only
            "fec0::/10",  # site-local
            "3fff::/20",  # documentation
        ),
    )
)


async def look_up(host: str, port: int, *, threads: Executor | None = None) -> tuple[str, ...]:
    """The addresses of `host`, each once, in the system's order. To be checked, and connected to as they are: a name
    that is looked up again may by then have another answer. `threads`: where to wait for a name server that somebody
    else may have chosen; unset: the loop's own. Raises OSError when there is no such host."""
    loop = asyncio.get_running_loop()
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.run_in_executor(threads, ask)
    except UnicodeError as error:
        raise OSError(f"{host} is no name of a host") from error
    return tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


class NotPublic(Exception):
    """A host is on a private address, or on none."""


async def public_addresses(host: str, port: int, *, threads: Executor | None = None) -> tuple[str, ...]:
    """As `look_up`, of a host that is on the internet; IPv4 first, as many machines reach no IPv6. Raises NotPublic
    too."""
    found = await look_up(host, port, threads=threads)
    if not found or not are_public(found):
        raise NotPublic
    return tuple(sorted(found, key=lambda address: ":" in address))


def are_public(addresses: Sequence[str]) -> bool:
    """Whether each of them is."""
    return all(is_public(ipaddress.ip_address(text)) for text in addresses)


def is_private_literal(host: str) -> bool:
    """Whether `host` is written as an address that is not public, in any form that a resolver takes (`0x7f.1`); a name
    is not looked up."""
    text = host.strip("[]").partition("%")[0].removesuffix(".")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(text))
        except (OSError, ValueError):
            return False
    return not is_public(address)


def is_public(address: Address) -> bool:
    """Whether it is routed on the internet, whatever disguise an IPv4 address wears within IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if address.sixtofour is not None:
            return is_public(address.sixtofour)
        if address.teredo is not None:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
