"""The way to other hosts: a proxy that a run's network policy decides for.

A run's box has no network, only a door that leads to this proxy's socket. It speaks `CONNECT host:port` and absolute
addresses, `GET http://host/`. A name is looked up here, every address that it has is checked, and the connection goes
to the very address that was checked: a name that has another answer by then gains nothing. Connections are made from
this machine itself, never through a proxy of the operator's, behind which nobody could check where a name leads.
"""

from treadle.domain.errors import ConfigurationError
from treadle.domain.network import HostRule
from treadle.egress.proxy import EgressProxy
from treadle.settings import Settings

__all__ = ["EgressProxy", "build"]


def build(settings: Settings) -> EgressProxy:
    """Raises ConfigurationError for a private host that is no plain name."""
    return EgressProxy(private_hosts=frozenset(map(_plain_name, settings.egress_private_hosts)))


def _plain_name(text: str) -> str:
    try:
        rule = HostRule.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"TREADLE_EGRESS_PRIVATE_HOSTS: {error}") from None
    if rule.is_wildcard or rule.port is not None:
        raise ConfigurationError(
            f"TREADLE_EGRESS_PRIVATE_HOSTS takes plain names of hosts, not '{rule}'.",
            hint="A run's network policy says which ports it may use.",
        )
    return rule.name
