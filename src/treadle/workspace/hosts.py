"""Which hosts Git may be sent to; in Git's words."""

import ipaddress
from collections.abc import Sequence

from treadle.domain.errors import GitError, HostRefused
from treadle.hosts import is_public, look_up


async def public_addresses(host: str, port: int) -> tuple[str, ...]:
    """The addresses of `host`, every one of them public. To be connected to as they are: a name that is looked up again
    may by then have another answer. Raises HostRefused, and GitError when there is no such host."""
    try:
        addresses = await look_up(host, port)
    except OSError as error:  # a TimeoutError is one too
        raise GitError(f"The Git host {host} cannot be found.") from error
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
