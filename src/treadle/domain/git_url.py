"""Repository addresses and branch names, checked before Git sees them: an address that Git would run as a program, or a
name that it would read as an option, never gets that far. Pure: nothing here looks a host up."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

#: Schemes that reach a host.
REMOTE_SCHEMES = ("https", "http", "ssh")

#: The default port of each.
DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22}

#: The longest name of a file, in bytes, that a branch's component may become (Git adds `.lock`).
MAX_COMPONENT_BYTES = 250

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")
_BRACKETED = r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]"
_SCP = re.compile(rf"(?P<user>[^@:/\s]+)@(?P<host>{_BRACKETED}|[^@:/\[\]\s]+):(?P<path>.+)")
_HOST = re.compile(rf"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|{_BRACKETED}")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+@%-]*")
_ENCODED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

#: The rules of `git check-ref-format --branch`: what a name must not match, and what to say then.
_BRANCH_FAULTS = tuple(
    (re.compile(pattern), fault)
    for pattern, fault in (
        (r"\A\Z", "A branch needs a name."),
        (_CONTROL.pattern, "A branch's name holds no control characters."),
        (r"\A-", "A branch's name does not begin with '-'."),
        (r"\AHEAD\Z", "'HEAD' names no branch."),
        (r" ", "A branch's name holds no space."),
        (r"[~^:?*\[\\]|\.\.|@\{|//", "A branch's name holds no '{}'."),
        (r"\A/|[/.]\Z", "A branch's name does not begin with '/' or end with '/' or '.'."),
        (r"(?:\A|/)\.|\.lock(?:/|\Z)", "No part of a branch's name begins with '.' or ends with '.lock'."),
    )
)

_FORMS = "https://host/path, http://host/path, ssh://user@host/path or user@host:path"
_ALLOW_LOCAL = "TREADLE_ALLOW_LOCAL_REPOSITORIES=1 on the service allows them."


@dataclass(frozen=True, slots=True)
class GitLocation:
    """An address taken apart. `scheme` is `https`, `http`, `ssh` or `file`; `host` is lower-case and without brackets,
    empty for `file`; `path` begins with `/`, except in the form `user@host:path`, where it may be relative to the
    user's home. A secret that the address held is not in here."""

    scheme: str
    user: str | None
    host: str
    port: int | None  # None: the scheme's own
    path: str

    @property
    def is_local(self) -> bool:
        return self.scheme == "file"

    @property
    def authority(self) -> str:
        """`host` or `host:port`, as a URL writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """`scheme://host[:port]`: what credentials are for."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """What Git is given; never a secret."""
        if self.is_local:
            return self.path
        if not self.path.startswith("/"):
            return f"{self.user}@{self.authority}:{self.path}"
        user = f"{quote(self.user, safe='+')}@" if self.user else ""
        return f"{self.scheme}://{user}{self.authority}{self.path}"


def parse(url: str) -> GitLocation:
    """Raises ValueError with a sentence that never repeats the address (it may hold a secret)."""
    _refuse_dangerous(url)
    if (match := _SCHEME.fullmatch(url)) is None:
        if url.startswith("/"):
            return GitLocation("file", None, "", None, url)
        if (match := _SCP.fullmatch(url)) is None:
            raise ValueError(f"This is not the address of a Git repository: give {_FORMS}.")
        return GitLocation("ssh", _user(match["user"]), _host(match["host"]), None, _scp_path(match["path"]))
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        return _parse_file(rest)
    if scheme not in REMOTE_SCHEMES:
        raise ValueError(f"Addresses of this scheme are not supported: give {_FORMS}.")
    return _parse_remote(scheme, rest)


def check_url(url: str, allow_local: bool) -> str | None:
    """What is wrong with a repository's address, as a sentence; None when nothing is. Local means a `file` URL or an
    absolute path."""
    try:
        location = parse(url)
    except ValueError as error:
        return str(error)
    if location.is_local and not allow_local:
        return f"Local repositories are not allowed here: give {_FORMS}. {_ALLOW_LOCAL}"
    if location.scheme == "ssh" and _userinfo(url)[1] is not None:
        return "An SSH address cannot hold a password: give an SSH key instead."
    return None


def split_credentials(url: str) -> tuple[str, str | None]:
    """The address without its secret, and that secret as `user:password` or a bare token (decoded), or None. The user
    of an SSH address is no secret and stays. Addresses that do not parse come back without what stands before `@`."""
    scheme, userinfo, rest = _cut_userinfo(url)
    if userinfo is None:
        return url, None
    name, password = _userinfo(url)
    if scheme == "ssh":
        return f"ssh://{quote(name, safe='+', errors='replace')}@{rest}" if name else f"ssh://{rest}", None
    credentials = name if password is None else f"{name}:{password}"
    return f"{scheme}://{rest}", credentials or None


def holds_credentials(url: str) -> bool:
    """Also the password of an SSH address, which is of no use to Git."""
    return split_credentials(url)[1] is not None or _userinfo(url)[1] is not None


def normalize(url: str) -> str:
    """One text for the addresses of one repository: lower-case scheme and host, no default port, no user for HTTP, no
    trailing slash and no `.git` (Git's own servers answer for both names). Raises ValueError like `parse`."""
    location = parse(split_credentials(url)[0])
    path = location.path.rstrip("/") or "/"
    if location.is_local:
        return path
    port = None if location.port == DEFAULT_PORTS[location.scheme] else location.port
    user = location.user if location.scheme == "ssh" else None
    if path.endswith(".git") and not f"/{path}".endswith("/.git"):
        path = path.removesuffix(".git")
    return GitLocation(location.scheme, user, location.host, port, path).url


def check_branch(name: str) -> str | None:
    """What is wrong with a branch's name, as a sentence; None when `git check-ref-format --branch` takes it and it fits
    a file system."""
    if not _is_text(name):
        return "A branch's name holds no broken characters."
    for pattern, fault in _BRANCH_FAULTS:
        if match := pattern.search(name):
            return fault.format(match[0])
    if any(len(component.encode()) > MAX_COMPONENT_BYTES for component in name.split("/")):
        return f"No part of a branch's name is longer than {MAX_COMPONENT_BYTES} bytes."
    return None


def _refuse_dangerous(url: str) -> None:
    if not url:
        raise ValueError("A repository needs an address.")
    if url.startswith("-"):
        raise ValueError("An address does not begin with '-'.")
    if _HELPER.match(url):
        raise ValueError(f"Addresses that name a remote helper ('helper::…') are refused: give {_FORMS}.")
    if _CONTROL.search(url) or not _is_text(url):
        raise ValueError("An address holds no control characters.")
    if _ENCODED_CONTROL.search(url):
        raise ValueError("An address holds no encoded control characters.")


def _check_path(path: str, rest: str = "") -> None:
    """Of an address that is written as a URL; `rest`: with what stands before it."""
    if any(mark in (rest or path) for mark in "?#\\ "):
        raise ValueError("A repository's address holds no '?', '#', '\\' or space.")
    if not path.strip("/"):
        raise ValueError("The address names a host but no repository.")


def _parse_file(rest: str) -> GitLocation:
    host, slash, path = rest.partition("/")
    if not slash or host not in {"", "localhost"}:
        raise ValueError("A file URL holds an absolute path: file:///path.")
    return GitLocation("file", None, "", None, f"/{unquote(path)}")


def _parse_remote(scheme: str, rest: str) -> GitLocation:
    authority, slash, path = rest.partition("/")
    _check_path(f"{slash}{path}", rest)
    userinfo, _, place = authority.rpartition("@")
    host, port = _host_and_port(place)
    user = _user(unquote(userinfo.partition(":")[0])) if scheme == "ssh" and userinfo else None
    return GitLocation(scheme, user, _host(host), port, f"/{path}")


def _host_and_port(place: str) -> tuple[str, int | None]:
    bracket = place.rfind("]")
    colon = place.find(":", bracket + 1)
    if colon < 0:
        return place, None
    digits = place[colon + 1 :]
    if not digits:
        return place[:colon], None
    number = digits.lstrip("0")[:6]
    if not (digits.isascii() and digits.isdigit() and 0 < int(number or 0) <= 65_535):  # noqa: PLR2004 - TCP's highest port
        raise ValueError("The address's port is not a number from 1 to 65535.")
    return place[:colon], int(number)


def _host(host: str) -> str:
    if not _HOST.fullmatch(host) or ".." in host:
        raise ValueError("The address's host is not a valid name (an international one is written in its ASCII form).")
    return host.lower().strip("[]")


def _user(user: str) -> str:
    if not _USER.fullmatch(user):
        raise ValueError("The address's user is not a valid name.")
    return user


def _scp_path(path: str) -> str:
    if path.startswith("-"):
        raise ValueError("An address's path does not begin with '-'.")
    if path.startswith("/"):  # it is written as an ssh URL from here on
        _check_path(path)
    return path


def _cut_userinfo(url: str) -> tuple[str, str | None, str]:
    """Scheme, what stands before the host's `@`, and the rest; without either, ("", None, url)."""
    match = _SCHEME.fullmatch(url)
    if match is None or match[1].lower() not in REMOTE_SCHEMES:
        return "", None, url
    authority, slash, path = match[2].partition("/")
    userinfo, at, place = authority.rpartition("@")
    return match[1].lower(), userinfo if at else None, f"{place}{slash}{path}"


def _userinfo(url: str) -> tuple[str, str | None]:
    """Name and password in an address, decoded."""
    userinfo = _cut_userinfo(url)[1]
    name, colon, password = (userinfo or "").partition(":")
    return unquote(name), unquote(password) if colon else None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell
        return False
    return True
