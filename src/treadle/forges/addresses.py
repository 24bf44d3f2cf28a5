"""Where a forge's API is, what a repository is called there, and which proxy leads to it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from treadle.domain.errors import ForgeError
from treadle.ports.forges import ForgeRepository

_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Place:
    """An API's address taken apart. `host` has no brackets, `path` no slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As the header `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def place_of(url: str) -> Place:
    """Raises ForgeError for what is no address of an API."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise ForgeError(
            "The address of the forge's API is not valid.", hint="Such as https://HOST/api/v4, without a user."
        )
    return Place(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def owner_and_name(repository: ForgeRepository) -> str:
    """`OWNER/NAME`, quoted for a path. Raises ForgeError for a name of another form."""
    parts = repository.name.split("/")
    if len(parts) != 2 or any(part in {"", ".", ".."} for part in parts):  # noqa: PLR2004 - owner and name
        raise ForgeError(f"{repository.name}, as the repository's address ends, is no OWNER/NAME at this forge.")
    return "/".join(quote(part, safe="") for part in parts)


def proxy_for(place: Place, environment: Mapping[str, str]) -> str | None:
    """What `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in either case. One without a scheme is an http
    proxy, as it is for Git."""
    said = {name.lower(): value for name, value in environment.items()}
    for entry in said.get("no_proxy", "").split(","):
        name = entry.strip().lower().lstrip(".")
        if name == "*" or (name and (place.host == name or place.host.endswith(f".{name}"))):
            return None
    proxy = said.get(f"{place.scheme}_proxy") or said.get("all_proxy") or None
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
