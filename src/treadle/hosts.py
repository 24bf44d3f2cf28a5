"""Which hosts the service may be sent to by a tenant's word. An address must not make it talk to the network it lives
in."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

#: How long a name may take to resolve, in seconds.
RESOLVE_SECONDS = 15.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def look_up(host: str, port: int) -> tuple[str, ...]:
    """The addresses of `host`, each once, in the system's order. To be checked, and connected to as they are: a name
    that is looked up again may by then have another answer. Raises OSError when there is no such host."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host} is no name of a host") from error
    return tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def are_public(addresses: Sequence[str]) -> bool:
    """Whether each of them is."""
    return all(is_public(ipaddress.ip_address(text)) for text in addresses)


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
    return address.is_global and not address.is_multicast and not address.is_reserved
