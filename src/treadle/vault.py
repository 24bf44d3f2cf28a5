"""Seals secrets at rest with AES-256-GCM: `v1:<key id>:<base64 of nonce and ciphertext>`.

The organization, table and row are authenticated with the text, so that a sealed value copied into another row does not
open there. Several keys may be loaded: the first seals, all of them open, which is how a key is replaced.
"""

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from treadle.domain.errors import ConfigurationError, SealBroken, SealKeyMissing
from treadle.settings import Settings

VERSION = "v1"
KEY_BYTES = 32
NONCE_BYTES = 12
KEY_FILE = "secret.key"

#: So that a key id says nothing about a hash of the key that is used anywhere else.
_ID_PREFIX = b"treadle sealing key id\0"


@dataclass(frozen=True, slots=True)
class SealingKey:
    """32 bytes. `id` is derived from them, so that every process gives a key the same name."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ConfigurationError(f"A sealing key is {KEY_BYTES} bytes, this one is {len(self.secret)}.")

    @property
    def id(self) -> str:
        return hashlib.sha256(_ID_PREFIX + self.secret).hexdigest()[:8]

    @classmethod
    def parse(cls, text: str, *, source: str) -> "SealingKey":
        """From base64, either alphabet. `source` names the place for the ConfigurationError of a bad one."""
        try:
            secret = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise ConfigurationError(
                f"{source} does not hold base64 of {KEY_BYTES} bytes.",
                hint="`openssl rand -base64 32` makes such a key.",
            )
        return cls(secret)


class AesGcmVault:
    """The Vault port. `random(n)` gives n unpredictable bytes."""

    def __init__(self, keys: Sequence[SealingKey], *, random: Callable[[int], bytes] = os.urandom) -> None:
        if not keys:
            raise ConfigurationError("There is no key to seal secrets with.", hint="Set TREADLE_SECRET_KEY.")
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}
        self._first = keys[0].id
        self._random = random

    def seal(self, clear: str, *, organization: UUID, table: str, row: str) -> str:
        nonce = self._random(NONCE_BYTES)
        ciphertext = self._ciphers[self._first].encrypt(nonce, clear.encode(), _place(organization, table, row))
        return f"{VERSION}:{self._first}:{base64.b64encode(nonce + ciphertext).decode()}"

    def check(self, sealed: str) -> None:
        """Raises SealKeyMissing unless the key that it was sealed with is loaded."""
        key_id = sealed.partition(":")[2].partition(":")[0]
        if sealed.startswith(f"{VERSION}:") and key_id not in self._ciphers:
            raise SealKeyMissing(
                f"This installation's secrets are sealed with the key {key_id}, which is not loaded here.",
                hint="Every process needs the same TREADLE_SECRET_KEY, or key file.",
            )

    def open(self, sealed: str, *, organization: UUID, table: str, row: str) -> str:
        """Raises SealBroken for another row's, a changed one, an unknown key (SealKeyMissing) or format; never says
        what was inside."""
        version, _, rest = sealed.partition(":")
        key_id, _, body = rest.partition(":")
        if version != VERSION:
            raise SealBroken(f"A secret of {table} is not sealed in a format that this version knows.")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealKeyMissing(
                f"A secret of {table} was sealed with the key {key_id}, which is not loaded.",
                hint="Add that key to TREADLE_SECRET_KEY, or to the key file, after the one in use.",
            )
        try:
            raw = base64.b64decode(body, validate=True)
            if base64.b64encode(raw).decode() != body:  # one text a secret: no spare bits to play with
                raise InvalidTag  # noqa: TRY301  # joins the other ways of having been changed
            return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _place(organization, table, row)).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(f"A secret of {table} was changed, or belongs to another row.") from None


def _place(organization: UUID, table: str, row: str) -> bytes:
    """An encoding in which no two places look alike, whatever the names contain."""
    return json.dumps([str(organization), table, row]).encode()


def load_keys(settings: Settings, *, random: Callable[[int], bytes] = os.urandom) -> tuple[SealingKey, ...]:
    """`TREADLE_SECRET_KEY`, else `TREADLE_SECRET_KEY_FILE`, else `secret.key` in the data directory, made when missing.

    Each holds one key or several, divided by white space or commas. Raises ConfigurationError.
    """
    if settings.secret_key is not None:
        return _parse_all(settings.secret_key.get_secret_value(), source="TREADLE_SECRET_KEY")
    path = settings.secret_key_file
    if path is None:
        path = settings.data_dir / KEY_FILE
        if not path.exists():
            _make(path, random)
    return _parse_all(_read(path), source=str(path))


def _parse_all(text: str, *, source: str) -> tuple[SealingKey, ...]:
    found: Iterable[str] = text.replace(",", " ").split()
    keys = tuple(SealingKey.parse(part, source=source) for part in found)
    if not keys:
        raise ConfigurationError(f"{source} is empty.", hint="`openssl rand -base64 32` makes a key for it.")
    return keys


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(64 * 1024)
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} does not hold base64 of {KEY_BYTES} bytes.") from None
    except OSError as error:
        raise ConfigurationError(f"The key file {path} cannot be read: {error.strerror}.") from None
    if mode & 0o077:
        # Only a warning: secrets mounted into containers are often group readable by design.
        structlog.get_logger(__name__).warning(
            "the key file can be read by other users", path=str(path), mode=f"{mode:04o}", hint=f"chmod 600 {path}"
        )
    return text


def _make(path: Path, random: Callable[[int], bytes]) -> None:
    """Makes the key file whole or not at all. Of several processes at once one wins, and all read the winner's."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(random(KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # A link fails where the name is taken; a rename would replace the key of a faster process.
            path.hardlink_to(temporary)
        except FileExistsError:
            return
        finally:
            temporary.unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigurationError(
            f"The key file {path} cannot be made: {error.strerror}.",
            hint="Make the directory writable, or set TREADLE_SECRET_KEY.",
        ) from None
