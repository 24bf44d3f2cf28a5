"""Credentials as texts: how they are written down before they are sealed, and what a private key looks like."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from treadle.domain.credentials import ClaudeSource, EngineCredential, GitCredentials, OAuthLicense
from treadle.domain.errors import SealBroken

#: The seal of a run's secret is bound to the organization, this table and `row`.
SECRETS_TABLE = "secrets"
GIT_HTTP = "git_http"
GIT_SSH = "git_ssh"
CLAUDE = "claude"

_ARMOUR = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\n(.+?)\n-----END \1-----\s*", re.DOTALL)
_OPENSSH_MAGIC = b"openssh-key-v1\0"


def row(run_uuid: UUID, name: str) -> str:
    """What the seal of a run's secret is bound to, next to organization and table."""
    return f"{run_uuid}/{name}"


def encode(credential: EngineCredential) -> str:
    """JSON that `decode` reads; in the clear, so to be sealed at once."""
    license_ = credential.license
    return json.dumps(
        {
            "source": credential.source,
            "apiKey": credential.api_key,
            "license": None
            if license_ is None
            else {
                "accessToken": license_.access_token,
                "refreshToken": license_.refresh_token,
                "expiresAt": license_.expires_at.isoformat() if license_.expires_at else None,
                "scopes": license_.scopes,
                "subscriptionType": license_.subscription_type,
            },
        },
        separators=(",", ":"),
    )


def decode(text: str) -> EngineCredential:
    """The inverse of `encode`. Raises SealBroken for text that `encode` did not write; it is never repeated."""
    try:
        found = json.loads(text)
        license_ = found["license"]
        return EngineCredential(
            source=ClaudeSource(found["source"]),
            api_key=found["apiKey"],
            license=None
            if license_ is None
            else OAuthLicense(
                access_token=license_["accessToken"],
                refresh_token=license_["refreshToken"],
                expires_at=datetime.fromisoformat(license_["expiresAt"]) if license_["expiresAt"] else None,
                scopes=tuple(license_["scopes"]),
                subscription_type=license_["subscriptionType"],
            ),
        )
    except (ValueError, KeyError, TypeError):
        raise SealBroken("A run's engine credential is not in a format that this version knows.") from None


def git_secrets(git: GitCredentials) -> Mapping[str, str | None]:
    """The Git credentials by the names that the store keeps them under; None removes one."""
    return {GIT_HTTP: git.http, GIT_SSH: git.ssh_key}


def read_ssh_key(encoded: str) -> str:
    """The private key in base64 `encoded` (line breaks allowed), as text with Unix line ends.

    Raises ValueError with a sentence that never repeats the key.
    """
    try:
        text = base64.b64decode("".join(encoded.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise ValueError("Is not base64 of a private key.") from None
    return check_ssh_key(text)


def check_ssh_key(text: str) -> str:
    """A private key's text with its line end, if it can be used without asking anybody.

    Raises ValueError with a sentence that never repeats the key.
    """
    text = text.replace("\r\n", "\n")
    if text.lstrip().startswith(("ssh-", "ecdsa-", "---- BEGIN SSH2 PUBLIC", "-----BEGIN PUBLIC")):
        raise ValueError("Is a public key; the private one is needed.")
    if text.startswith("PuTTY-User-Key-File"):
        raise ValueError("Is a PuTTY key; export it in the OpenSSH format.")
    match = _ARMOUR.fullmatch(text.strip() + "\n")
    if match is None:
        raise ValueError("Is not a private key in the OpenSSH or PEM format.")
    if _asks_for_a_passphrase(match[1], match[2]):
        raise ValueError("Is protected by a passphrase, which nobody here can type.")
    return text.strip() + "\n"


def _asks_for_a_passphrase(kind: str, body: str) -> bool:
    if "ENCRYPTED" in kind or "Proc-Type: 4,ENCRYPTED" in body:
        return True
    try:
        raw = base64.b64decode("".join(body.split()))
    except (binascii.Error, ValueError):
        return False  # Git's own ssh will say what is wrong with it
    rest = raw.removeprefix(_OPENSSH_MAGIC)
    # The format's first field is the name of the cipher, after its length in four bytes.
    return len(rest) < len(raw) and rest[4 : 4 + int.from_bytes(rest[:4], "big")] != b"none"
