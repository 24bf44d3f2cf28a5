"""What a remote's refusal means: Git's and SSH's messages (with LC_ALL=C) as errors a person can act on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import (
    GitAuthenticationFailed,
    GitError,
    GitTimedOut,
    GitUnreachable,
    HostRefused,
    RepositoryNotFound,
)
from treadle.domain.git_url import GitLocation
from treadle.redaction import Redactor, secrets_of
from treadle.workspace.git import FULL_DISK, last_line

#: Printed by the wrapper around an SSH command when the agent does not take the key.
KEY_REFUSED = "treadle: the key was not taken"

#: Longest remark of the remote that a message repeats, in characters.
MAX_REMARK = 600


@dataclass(frozen=True, slots=True)
class _Cause:
    """`message` may name {host}, {port} and {url}."""

    pattern: re.Pattern[str]
    error: type[GitError]
    message: str
    hint: str | None = None


def _cause(pattern: str, error: type[GitError], message: str, hint: str | None = None) -> _Cause:
    return _Cause(re.compile(pattern), error, message, hint)


#: In the order in which they are tried: the most telling line first.
_CAUSES: Sequence[_Cause] = (
    _cause(
        re.escape(KEY_REFUSED),
        GitAuthenticationFailed,
        "The SSH key for {host} cannot be used: it is damaged or of an unknown kind.",
        "Send a private key as OpenSSH or PEM text.",
    ),
    _cause(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed",
        GitError,
        "The SSH host key of {host} is not the one that was seen first: somebody may be in between.",
        "If the host was set up anew, remove its line from the data directory's known_hosts file.",
    ),
    _cause(r"Host key verification failed", GitError, "The SSH host key of {host} could not be verified."),
    _cause(
        r"could not read (?:Username|Password)|unable to read askpass response",
        GitAuthenticationFailed,
        "The Git host {host} asks for credentials for {url}, and the run has none.",
        "Send gitHttpCredentials with a run (a resume takes none), or register the repository with its own: "
        "`treadle admin repo add`.",
    ),
    _cause(
        r"Authentication failed|returned error: 401|HTTP Basic: Access denied",
        GitAuthenticationFailed,
        "The Git host {host} did not accept the credentials for {url}.",
        "Check that the token or password is right and has not expired.",
    ),
    _cause(
        r"returned error: 403|Write access to repository not granted|[Pp]ermission to .+ denied"
        r"|access denied or repository not exported",
        GitAuthenticationFailed,
        "The credentials may not be used for {url} (the Git host {host} denied access).",
        "Check what the token or key is allowed to do.",
    ),
    _cause(
        r"Permission denied \(|Too many authentication failures|no mutual signature|Permission denied, please try",
        GitAuthenticationFailed,
        "The Git host {host} did not accept the SSH key for {url}.",
        "Check that the key belongs to an account or a deploy key with access.",
    ),
    _cause(
        r"repository '.*' not found|[Rr]epository not found|repository '.*' does not exist"
        r"|does not appear to be a git repository|not valid: is this a git repository"
        r"|could not be found or you don't have permission|project you were looking for could not be found"
        r"|'.*': not a git repository|is not a git repository",
        RepositoryNotFound,
        "There is no repository at {url}, or the credentials may not see it.",
    ),
    _cause(
        r"returned error: 30[12378]|unable to update url base from redirection",
        HostRefused,
        "The address {url} redirects to another one, which is not followed.",
        "Give the address that it redirects to.",
    ),
    _cause(
        r"[Cc]ould not resolve (?:host|hostname|proxy)|Name or service not known",
        GitError,
        "The Git host {host} cannot be found.",
    ),
    _cause(
        r"timed out|Timeout|Operation too slow|Connection timeout",
        GitTimedOut,
        "The Git host {host} does not answer.",
    ),
    _cause(
        r"Failed to connect|Couldn't connect|Connection refused|Network is unreachable|No route to host",
        GitUnreachable,
        "The Git host {host} cannot be reached.",
    ),
    _cause(
        r"certificate|SSL|TLS|gnutls_handshake",
        GitError,
        "The TLS certificate of the Git host {host} could not be verified.",
    ),
    _cause(r"returned error: (?:5\d\d|429)", GitUnreachable, "The Git host {host} cannot answer at the moment."),
    _cause(
        r"detected dubious ownership",
        GitError,
        "The repository {url} belongs to another user of this machine.",
        "Give its files to the user that runs Treadle.",
    ),
    _cause(FULL_DISK, GitError, "The disk of the worker is full."),
    _cause(
        r"mismatched algorithms", GitError, "The repository {url} uses an object format that its mirror here does not."
    ),
    _cause(
        r"hung up unexpectedly|early EOF|RPC failed|unexpected disconnect|Connection (?:reset|closed)|Broken pipe"
        r"|Empty reply|expected flush|bad line length|invalid server response|transfer closed",
        GitUnreachable,
        "The connection to the Git host {host} broke off.",
    ),
)


def remote_failure(stderr: str, location: GitLocation, credentials: GitCredentials) -> GitError:
    """The error for a command that the remote, or the way to it, did not let succeed."""
    said = _remark(stderr)
    values = {"host": location.host or "this machine", "url": location.url}
    for cause in _CAUSES:
        if cause.pattern.search(stderr):
            message, hint, error = cause.message.format_map(values), cause.hint, cause.error
            break
    else:
        message, hint, error = f"Git could not talk to {location.url}.", None, GitError
    if credentials.ssh_key is None and location.scheme == "ssh" and error is GitAuthenticationFailed:
        message, hint = f"The Git host {location.host} asks for an SSH key, and the run has none.", "Send an SSH key."
    if said:
        message = f"{message} Git said: {said}."
    clean = Redactor(secrets_of(credentials)).text
    return error(clean(message), hint=hint)


def remarks(stderr: str) -> str:
    """What the remote itself said, on one line."""
    lines = [line.removeprefix("remote:").strip() for line in stderr.splitlines() if line.startswith("remote:")]
    return " ".join(line for line in lines if line)[:MAX_REMARK]


def _remark(stderr: str) -> str:
    said = [remarks(stderr), last_line(_without_advice(stderr))]
    return " - ".join(dict.fromkeys(part.rstrip(".") for part in said if part))[:MAX_REMARK]


def _without_advice(stderr: str) -> str:
    """SSH failures end in lines that say nothing about the cause."""
    advice = ("Please make sure you have the correct access rights", "and the repository exists")
    generic = ("fatal: Could not read from remote repository", "remote:", KEY_REFUSED)
    lines = [line for line in stderr.splitlines() if not line.startswith((*advice, *generic))]
    return "\n".join(lines)
