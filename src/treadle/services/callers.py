"""Where callers come from: the address that throttles count by, and that the audit log tells."""

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from treadle.domain.errors import ConfigurationError

Network = IPv4Network | IPv6Network

#: Whoever has one IPv6 address has all of such a network, and may come from a new one each time.
_PREFIX = 64


def networks_of(setting: Sequence[str]) -> tuple[Network, ...]:
    """`TREADLE_TRUSTED_PROXIES`. Raises ConfigurationError."""
    try:
        return tuple(ipaddress.ip_network(text) for text in setting)
    except ValueError as error:
        raise ConfigurationError(
            f"TREADLE_TRUSTED_PROXIES is not valid: {error}.", hint="Such as 10.0.0.2, 192.168.0.0/16 or fd00::/8."
        ) from None


def client_of(peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """Where a request comes from. `forwarded`: the values of its `X-Forwarded-For`, in their order.

    Each proxy appends the address that it was asked from, so the last one that is no proxy's is true, and whatever
    stands before it may be anything. What is no address ends the search: its sender is the client.
    """
    client = _address(peer)
    if client is None:
        return peer
    for text in reversed([part for value in forwarded for part in value.split(",")]):
        if not _is_in(client, proxies):
            break
        before = _address(text)
        if before is None:
            break
        client = before
    return str(client)


def network_of(address: str) -> str:
    """What tries are counted by: an IPv4 address itself, of an IPv6 one its network."""
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, _PREFIX), strict=False))
    return address if found is None else str(found)


def _is_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Also with a port, and with brackets, as some proxies write one."""
    clean = text.strip()
    if clean.startswith("["):
        clean = clean[1:].partition("]")[0]
    elif clean.count(":") == 1:
        clean = clean.partition(":")[0]
    try:
        found = ipaddress.ip_address(clean.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
