"""Network policies as callers write them and as the API does."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from treadle.sdk._wire import Fields, JsonValue

#: As the API writes it: `"none"`, `"model"`, `"full"`, or `{"allow": [hosts]}`. Callers may write
#: `"allow:example.com,*.example.org"` too.
Network: TypeAlias = str | Mapping[str, Sequence[str]]

_ALLOW = "allow:"


def network_json(network: Network) -> JsonValue:
    """As the API takes it; the server says what is wrong with one."""
    if not isinstance(network, str):
        return {name: list(hosts) for name, hosts in network.items()}
    if not network.startswith(_ALLOW):
        return network
    return {"allow": [host.strip() for host in network.removeprefix(_ALLOW).split(",") if host.strip()]}


def network_of(fields: Fields, name: str) -> Network | None:
    """A policy in an answer. Raises WireError."""
    found = fields.raw.get(name)
    if found is None or isinstance(found, str):
        return found
    inside = Fields(found, name)
    return {key: tuple(str(host) for host in inside.array(key)) for key in inside.raw}
