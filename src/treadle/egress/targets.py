"""What a request to the proxy asks for: a host, in whatever spelling, and a port. Pure."""

import ipaddress
import re
import socket
from dataclasses import dataclass

from treadle.domain.network import MAX_HOST_NAME, MAX_PORT, is_host_name, is_numeric
from treadle.hosts import Address

HTTP_PORT = 80

#: No user, no escapes: what one reader takes for a host, another might not.
_AUTHORITY = rb"(\[[^][@/?#\\]+\]|[^][@/?#\\:]+)(?::([0-9]{1,5}))?"
_TUNNEL = re.compile(_AUTHORITY)
_ABSOLUTE = re.compile(rb"http://" + _AUTHORITY + rb"(/[^#]*|\?[^#]*)?", re.IGNORECASE)


class Unreadable(Exception):
    """Names no host and port; with a sentence."""


@dataclass(frozen=True, slots=True)
class Target:
    """`host`: lower case, without brackets and a dot at its end; whether it is one is not said yet. `path` None: a
    tunnel is asked for."""

    host: str
    port: int
    path: bytes | None = None

    @property
    def authority(self) -> bytes:
        """As it stands in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == HTTP_PORT else f"{host}:{self.port}").encode("ascii")


def target_of(method: bytes, target: bytes) -> Target:
    """From a request's first line, in visible ASCII characters. Raises Unreadable."""
    if method == b"CONNECT":
        found = _TUNNEL.fullmatch(target)
        if found is None or found[2] is None:
            raise Unreadable("CONNECT takes a host and a port, example.com:443.")
        return Target(_host(found[1]), _port(found[2]))
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise Unreadable("This is a proxy: it takes CONNECT, and addresses that begin with http://.")
    path = found[3] or b"/"
    port = _port(found[2]) if found[2] is not None else HTTP_PORT
    return Target(_host(found[1]), port, path if path.startswith(b"/") else b"/" + path)


def address_in(host: str) -> Address | None:
    """The address that `host` spells, in any way that a resolver reads, IPv4 within IPv6 as IPv4; None: a name. Raises
    ValueError for what is neither."""
    if ":" in host:
        address = ipaddress.IPv6Address(host)
        if address.scope_id is not None:
            raise ValueError("An address with a zone is on a link of this machine.")
        return address.ipv4_mapped or address
    if is_numeric(host):
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))  # decimal, octal, hexadecimal, of one to four parts
        except OSError:
            raise ValueError("No address ends so.") from None
    if not is_host_name(host):
        raise ValueError("No name of a host.")
    return None


def _host(text: bytes) -> str:
    host = text.decode("ascii").lower()
    host = host[1:-1] if host.startswith("[") else host.removesuffix(".")
    if not 0 < len(host) <= MAX_HOST_NAME:
        raise Unreadable(f"A host's name has 1 to {MAX_HOST_NAME} characters.")
    return host


def _port(text: bytes) -> int:
    port = int(text)
    if not 0 < port <= MAX_PORT:
        raise Unreadable(f"A port is from 1 to {MAX_PORT}.")
    return port
