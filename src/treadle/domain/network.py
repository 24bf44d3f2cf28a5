"""What a run's commands may connect to. The walls are the sandbox's; this says what is let through them."""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

#: Hosts that one policy may name.
MAX_HOSTS = 100

#: Of a host's name, in characters, as the domain name system has it.
MAX_HOST_NAME = 253

MAX_PORT = 65_535

#: The ports that a host without one of its own may be reached on.
USUAL_PORTS = frozenset({80, 443})

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_RULE = re.compile(rf"(\*\.)?({_NAME.pattern})\.?(?::([0-9]{{1,5}}))?")

#: What a resolver reads as an address, as no name ends so: 127.1, 2130706433, 0x7f.0.0.1.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")

#: As it is written down and sent: a mode, or `{"allow": [hosts]}`.
NetworkJson: TypeAlias = "str | dict[str, list[str]]"


class NetworkMode(StrEnum):
    """From the strictest on."""

    NONE = "none"  # nothing at all: only for engines that ask no model
    MODEL = "model"  # the model gateway
    ALLOW = "allow"  # that, and the hosts that are named
    FULL = "full"  # that, and every host on a public address


_ORDER = tuple(NetworkMode)


@dataclass(frozen=True, slots=True)
class HostRule:
    """`name`, lower case; its subdomains instead of it if `is_wildcard`. `port` None: the usual ones."""

    name: str
    is_wildcard: bool = False
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "HostRule":
        """`example.com`, `*.example.com`, `example.com:8443`. Raises ValueError with a sentence."""
        shown = ascii(text[:100])  # also what no answer could hold
        found = _RULE.fullmatch(text.strip().lower()) if text.isascii() else None
        if found is None or len(found[2]) > MAX_HOST_NAME:
            raise ValueError(f"{shown} is no host: write example.com, *.example.com or example.com:8443.")
        port = int(found[3]) if found[3] else None
        if port is not None and not 0 < port <= MAX_PORT:
            raise ValueError(f"{shown} has no port between 1 and 65535.")
        if is_numeric(found[2]):
            raise ValueError(f"{shown} is an address; name the host.")
        if found[1] and "." not in found[2]:
            raise ValueError(f"{shown} would allow a whole top-level domain.")
        return cls(found[2], bool(found[1]), port)

    def matches(self, host: str, port: int) -> bool:
        """`host` lower case, without a dot at its end."""
        is_named = host.endswith(f".{self.name}") if self.is_wildcard else host == self.name
        return is_named and port in self.ports

    @property
    def ports(self) -> frozenset[int]:
        """Those that it may be reached on."""
        return USUAL_PORTS if self.port is None else frozenset({self.port})

    def __str__(self) -> str:
        return f"{'*.' if self.is_wildcard else ''}{self.name}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """`hosts` only with ALLOW."""

    mode: NetworkMode = NetworkMode.MODEL
    hosts: tuple[HostRule, ...] = ()

    @classmethod
    def read(cls, value: object) -> "NetworkPolicy":
        """From JSON: `"none"`, `"model"`, `"full"` or `{"allow": ["example.com"]}`. Raises ValueError with a
        sentence."""
        match value:
            case "none" | "model" | "full":
                return cls(NetworkMode(value))
            case {"allow": list() as hosts, **rest} if not rest and all(isinstance(host, str) for host in hosts):
                if not hosts or len(hosts) > MAX_HOSTS:
                    raise ValueError(f"'allow' takes 1 to {MAX_HOSTS} hosts.")
                return cls(NetworkMode.ALLOW, tuple(dict.fromkeys(map(HostRule.parse, hosts))))
        raise ValueError('Must be "none", "model", "full" or {"allow": ["example.com", …]}.')

    @classmethod
    def parse(cls, text: str) -> "NetworkPolicy":
        """From the words of a command line or a setting: `model`, or `allow:example.com,*.example.org`; JSON is read
        too. Raises ValueError with a sentence."""
        text = text.strip()
        if text.startswith(("{", '"')):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):  # numbers of many digits are no JSONDecodeError
                raise ValueError("Is not JSON of a network policy.") from None
            return cls.read(value)
        if text.startswith("allow:"):
            hosts = [host for host in re.split(r"[,\s]+", text.removeprefix("allow:")) if host]
            return cls.read({"allow": hosts})
        if text not in ("none", "model", "full"):
            raise ValueError("Must be none, model, full or allow:HOST,….")
        return cls.read(text)

    def json(self) -> NetworkJson:
        """What `read` takes."""
        return {"allow": [str(host) for host in self.hosts]} if self.mode is NetworkMode.ALLOW else self.mode.value

    def __str__(self) -> str:
        return f"allow:{','.join(map(str, self.hosts))}" if self.mode is NetworkMode.ALLOW else self.mode.value

    @property
    def has_proxy(self) -> bool:
        """Whether anything but the model is let through."""
        return self.mode in {NetworkMode.ALLOW, NetworkMode.FULL}

    def permits(self, host: str, port: int) -> bool:
        """Whether a connection may be tried. Addresses are checked apart from this, after the name was looked up."""
        host = host.lower().removesuffix(".")
        if self.mode is NetworkMode.FULL:
            return True
        return self.mode is NetworkMode.ALLOW and any(rule.matches(host, port) for rule in self.hosts)

    def is_within(self, other: "NetworkPolicy") -> bool:
        """Whether this lets through nothing that `other` does not."""
        if self.mode is NetworkMode.ALLOW and other.mode is NetworkMode.ALLOW:
            return all(
                any(_covers(theirs, ours, port) for theirs in other.hosts) for ours in self.hosts for port in ours.ports
            )
        return _ORDER.index(self.mode) <= _ORDER.index(other.mode)


def is_host_name(text: str) -> bool:
    """Whether `text`, lower case and without a dot at its end, is a name that may be looked up: no address in any
    spelling."""
    return len(text) <= MAX_HOST_NAME and _NAME.fullmatch(text) is not None and not is_numeric(text)


def is_numeric(name: str) -> bool:
    """Whether resolvers take it for an IPv4 address, or for a broken one."""
    return _NUMERIC.fullmatch(name) is not None


def _covers(wide: HostRule, narrow: HostRule, port: int) -> bool:
    if port not in wide.ports:
        return False
    if wide.is_wildcard:
        return narrow.name.endswith(f".{wide.name}") or (narrow.is_wildcard and narrow.name == wide.name)
    return narrow.name == wide.name and not narrow.is_wildcard
