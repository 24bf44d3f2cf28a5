"""Which hosts Git may be sent to. A tenant's address must not make the service talk to the network it lives in."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from treadle.domain.errors import GitError, HostRefused

#: How long a name may take to resolve, in seconds.
RESOLVE_SECONDS = 15.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def public_addresses(host: str, port: int) -> tuple[str, ...]:
    """The addresses of `host`, every one of them public. To be connected to as they are: a name that is looked up again
    may by then have another answer. Raises HostRefused, and GitError when there is no such host."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise GitError(f"The Git host {host} cannot be found.") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    refuse_private(host, addresses)
    return addresses


def refuse_private(host: str, addresses: Sequence[str]) -> None:
    """Raises HostRefused unless each of `addresses` is public."""
    for text in addresses:
        if not is_public(ipaddress.ip_address(text)):
            raise HostRefused(
                f"The Git host {host} is on a private address, which this service does not connect to.",
                hint="TREADLE_ALLOW_PRIVATE_HOSTS=1 allows it.",
            )


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
