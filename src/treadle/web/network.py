"""Network policies as forms have them, and in plain words."""

import re
from collections.abc import Mapping, Sequence

from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject
from treadle.domain.network import MAX_HOSTS, HostRule, NetworkMode, NetworkPolicy

#: Hosts that a sentence names.
NAMED_HOSTS = 6

#: Of a menu: each mode, and what it lets through.
CHOICES: Sequence[tuple[str, str]] = (
    (NetworkMode.NONE, "Nothing at all"),
    (NetworkMode.MODEL, "The model alone"),
    (NetworkMode.ALLOW, "The model and some hosts"),
    (NetworkMode.FULL, "The whole internet"),
)

#: Characters of hosts that are read.
_MAX_TEXT = 100_000


def values_of(policy: NetworkPolicy | None) -> Mapping[str, str]:
    """By the names of the fields; None: of the first choice, which says nothing of its own."""
    if policy is None:
        return {"network": "", "hosts": ""}
    return {"network": policy.mode, "hosts": "\n".join(map(str, policy.hosts))}


def policy_of(mode: str, hosts: str) -> NetworkPolicy | None:
    """What the fields say; hosts count where they are asked for. Raises InvalidInput (paths `network`, `hosts`)."""
    if not mode:
        return None
    if mode not in set(NetworkMode):
        raise InvalidInput({"network": ["Is no network policy."]})
    if mode != NetworkMode.ALLOW:
        return NetworkPolicy(NetworkMode(mode))
    rules, faults = dict[HostRule, None](), list[str]()
    for name in filter(None, re.split(r"[,\s]+", hosts[:_MAX_TEXT])):
        try:
            rules[HostRule.parse(name)] = None
        except ValueError as error:
            faults.append(str(error))
    if not faults and not 0 < len(rules) <= MAX_HOSTS:
        faults.append(f"Name 1 to {MAX_HOSTS} hosts, one a line.")
    if faults:
        raise InvalidInput({"hosts": faults[:NAMED_HOSTS]})
    return NetworkPolicy(NetworkMode.ALLOW, tuple(rules))


def policy_in(data: JsonObject) -> NetworkPolicy | None:
    """That of an event; None for what is none."""
    try:
        return NetworkPolicy.read(data.get("policy"))
    except ValueError:
        return None


def words(policy: NetworkPolicy) -> str:
    """What it lets through."""
    match policy.mode:
        case NetworkMode.NONE:
            return "nothing at all"
        case NetworkMode.MODEL:
            return "the model, and nothing else"
        case NetworkMode.FULL:
            return "the model, and the whole internet"
        case NetworkMode.ALLOW:
            named = [str(host) for host in policy.hosts[:NAMED_HOSTS]]
            more = len(policy.hosts) - len(named)
            return f"the model, {', '.join(named)}{f' and {more} more' if more else ''}"
