"""Credentials for one Git command: in no argument and in no file, sent to no other host, gone when the command ends.

HTTP: a credential helper for the address's own origin, which prints two variables of that Git process's environment.
Where private hosts are not allowed, the addresses are looked up once, checked, and pinned for the connection; redirects
are then not followed, because nobody has vouched for where they lead (so a renamed repository needs its new address).

SSH: a private `ssh-agent` around the command, fed over stdin. It ends with the command; should this process be killed,
it ends by itself soon after Git does. Neither the operator's keys nor their configuration are ever used.
"""

import base64
import binascii
import os
import re
import shlex
import signal
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitAuthenticationFailed, HostRefused
from treadle.domain.git_url import DEFAULT_PORTS, GitLocation
from treadle.scratch import scratch_directory
from treadle.workspace.failures import KEY_REFUSED
from treadle.workspace.git import Access
from treadle.workspace.hosts import public_addresses
from treadle.workspace.memory import PrivateMemory

#: The user that goes with a bare token, where the host wants a certain one.
TOKEN_USERS = {"bitbucket.org": "x-token-auth"}
TOKEN_USER = "x-access-token"  # noqa: S105 - a user's name

CONNECT_SECONDS = 15

_USER_VARIABLE, _PASSWORD_VARIABLE = "TREADLE_GIT_USERNAME", "TREADLE_GIT_PASSWORD"
_HELPER = f'!printf "username=%s\\npassword=%s\\n" "${_USER_VARIABLE}" "${_PASSWORD_VARIABLE}"; :'

_AGENT_SCRIPT = f"""
echo "$SSH_AGENT_PID" > "$1"
seconds=$2
shift 2
if ssh-add -q -t "$seconds" -; then
    "$@" < /dev/null
    code=$?
else
    echo "{KEY_REFUSED}" >&2
    code=128
fi
kill "$SSH_AGENT_PID"
exit $code
"""

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----(.+?)-----END \1PRIVATE KEY-----", re.DOTALL)
_OPENSSH_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class AccessRules:
    """`known_hosts`: a directory with a file for each organization. `memory`: where agents get their directories;
    None: in the system's temporary directory (the path of a socket must be short)."""

    known_hosts: Path
    memory: PrivateMemory | None
    allow_local: bool
    allow_private_hosts: bool
    seconds: float

    @asynccontextmanager
    async def open(
        self, location: GitLocation, organization: UUID, credentials: GitCredentials
    ) -> AsyncIterator[Access]:
        """Raises HostRefused, GitAuthenticationFailed, and GitError for a host that does not exist."""
        if location.is_local:
            if not self.allow_local:
                raise HostRefused("Local repositories are not allowed here.")
            yield Access()
            return
        addresses: tuple[str, ...] = ()
        if not self.allow_private_hosts:
            port = location.port or DEFAULT_PORTS[location.scheme]
            addresses = await public_addresses(location.host, port)
        if location.scheme == "ssh":
            with self._over_ssh(location, organization, credentials, addresses) as access:
                yield access
        else:
            yield _over_http(location, credentials, addresses)

    @contextmanager
    def _over_ssh(
        self, location: GitLocation, organization: UUID, credentials: GitCredentials, addresses: tuple[str, ...]
    ) -> Iterator[Access]:
        if credentials.http is not None:
            raise GitAuthenticationFailed(
                "The address is an SSH one, but the credentials are for HTTP.",
                hint="Send gitSshKeyBase64, or the repository's https address.",
            )
        self.known_hosts.mkdir(mode=0o700, parents=True, exist_ok=True)
        known_hosts = self.known_hosts / str(organization)
        if credentials.ssh_key is None:
            yield Access(environment=_ssh_environment(location, known_hosts, addresses, None))
            return
        key = ssh_key_text(credentials.ssh_key)
        memory = self.memory
        seconds = str(int(self.seconds) + CONNECT_SECONDS)
        with scratch_directory() if memory is None else memory.agent_directory() as directory:
            socket, pid_file = directory / "s", directory / "pid"
            try:
                yield Access(
                    environment=_ssh_environment(location, known_hosts, addresses, socket),
                    prefix=("ssh-agent", "-a", str(socket), "sh", "-c", _AGENT_SCRIPT, "sh", str(pid_file), seconds),
                    stdin=key,
                )
            finally:
                _end_agent(pid_file, socket)


def _over_http(location: GitLocation, credentials: GitCredentials, addresses: tuple[str, ...]) -> Access:
    if credentials.ssh_key is not None:
        raise GitAuthenticationFailed(
            "The address is an HTTP one, but the credentials are an SSH key.",
            hint="Send gitHttpCredentials, or the repository's SSH address.",
        )
    options: list[str] = []
    if addresses and location.host not in addresses:
        port = location.port or DEFAULT_PORTS[location.scheme]
        pinned = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
        options += ("-c", f"http.curloptResolve={location.host}:{port}:{pinned}")
    if credentials.http is None:
        return Access(tuple(options))
    user, password = http_user_and_password(credentials.http, location.host)
    origins = {location.origin: None}
    if location.scheme == "http":  # which may send one on to https of the same host; nowhere else do they go
        origins |= {replace(location, scheme="https", port=port).origin: None for port in (location.port, None)}
    for origin in origins:
        options += ("-c", f"credential.{origin}.helper={_HELPER}")
    return Access(tuple(options), {_USER_VARIABLE: user, _PASSWORD_VARIABLE: password})


def http_user_and_password(http: str, host: str) -> tuple[str, str]:
    """From `user:password` or a bare token. Raises GitAuthenticationFailed for what no HTTP header can hold."""
    text = http.strip()
    if not text or not text.isprintable():
        raise GitAuthenticationFailed(
            "The HTTP credentials are empty or hold control characters.", hint="Send user:password or a token."
        )
    user, colon, password = text.partition(":")
    return (user, password) if colon else (TOKEN_USERS.get(host, TOKEN_USER), text)


def ssh_key_text(key: str) -> bytes:
    """The key with the line ends that OpenSSH wants. Raises GitAuthenticationFailed for what is no key, or is locked by
    a passphrase."""
    text = "\n".join(line.strip() for line in key.strip().splitlines()) + "\n"
    match = _PEM.search(text)
    if match is None:
        raise GitAuthenticationFailed(
            "The SSH key is not a private key.", hint="Send a private key as OpenSSH or PEM text."
        )
    if _is_encrypted(match[1], match[2]):
        raise GitAuthenticationFailed(
            "The SSH key is protected by a passphrase.", hint="Send a key without one, such as a deploy key."
        )
    return text.encode(errors="replace")


def _is_encrypted(kind: str, body: str) -> bool:
    if kind.startswith("ENCRYPTED") or "Proc-Type: 4,ENCRYPTED" in body:
        return True
    if kind != "OPENSSH ":
        return False
    try:
        raw = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return False  # ssh-add will say that it is damaged
    if not raw.startswith(_OPENSSH_MAGIC) or len(raw) < len(_OPENSSH_MAGIC) + 4:
        return False
    (length,) = struct.unpack_from(">I", raw, len(_OPENSSH_MAGIC))
    start = len(_OPENSSH_MAGIC) + 4
    return raw[start : start + length] != b"none"


def _ssh_environment(
    location: GitLocation, known_hosts: Path, addresses: tuple[str, ...], socket: Path | None
) -> dict[str, str]:
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ForwardAgent": "no",
        "IdentityAgent": _quoted(socket) if socket is not None else "none",
        "IdentityFile": "none",
        "LogLevel": "ERROR",
        "PreferredAuthentications": "publickey",
        "ServerAliveCountMax": "4",
        "ServerAliveInterval": "15",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": _quoted(known_hosts),
    }
    if addresses and location.host not in addresses:
        port = location.port or DEFAULT_PORTS["ssh"]
        options["HostName"] = addresses[0]
        # The name under which the key is known without a pinned address, too.
        options["HostKeyAlias"] = location.host if port == DEFAULT_PORTS["ssh"] else f"[{location.host}]:{port}"
    words = ["ssh", "-F", "/dev/null"]
    for name, value in options.items():
        words += ("-o", f"{name}={value}")
    return {"GIT_SSH_COMMAND": shlex.join(words), "GIT_SSH_VARIANT": "ssh"}


def _quoted(path: Path) -> str:
    """A path as an option of SSH, which splits at spaces and expands `%`."""
    return '"' + str(path).replace("%", "%%") + '"'


def _end_agent(pid_file: Path, socket: Path) -> None:
    """After a command that was cut short; one that ended by itself has ended its agent."""
    with suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if os.fsencode(socket) in arguments:  # the number may belong to somebody else by now
            os.kill(pid, signal.SIGKILL)
