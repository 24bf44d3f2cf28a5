"""Where a forge's API is, and what a repository is called there. Pure."""

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
