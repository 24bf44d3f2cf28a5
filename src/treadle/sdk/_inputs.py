"""What a caller gives: steps, credentials, files."""

import base64
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from mimetypes import guess_type
from pathlib import Path
from typing import BinaryIO, TypeAlias

from treadle.sdk._wire import JsonValue, OpenEnum

#: With this API key the Dummy engine does the work: no model, no cost.
DUMMY_API_KEY = "000-dummy"

#: A private key: its bytes, its text, or the file that holds it.
SshKey: TypeAlias = bytes | str | Path


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction. A commitable step goes through analysis, implementation and validation and ends in a commit; any
    other is one prompt that changes nothing. With `structured`, the answer comes as a `StructuredOutput`."""

    step: str
    commitable: bool = True
    structured: bool = False

    def to_json(self) -> dict[str, JsonValue]:
        return {
            "step": self.step,
            "isCommitableStep": self.commitable,
            "isStructuredOutput": self.structured,
        }


#: A step, the text of a commitable one, or a mapping with the API's own names.
StepLike: TypeAlias = Step | str | Mapping[str, JsonValue]


class ClaudeAuthenticationSource(OpenEnum):
    """Whose Claude account pays."""

    DEFAULT = "Default"
    CLIENT_API_KEY = "ClientApiKey"
    CLIENT_LICENSE = "ClientLicense"


@dataclass(frozen=True, slots=True)
class ClaudeAuthentication:
    """How the engine authenticates with Anthropic; made by `api_key`, `license` or `dummy`. Its `repr` shows no
    secret."""

    source: ClaudeAuthenticationSource
    _secrets: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)

    @classmethod
    def default(cls) -> "ClaudeAuthentication":
        """The server's own key. The same as giving none."""
        return cls(ClaudeAuthenticationSource.DEFAULT)

    @classmethod
    def api_key(cls, key: str) -> "ClaudeAuthentication":
        """Your own Anthropic API key, such as `sk-ant-api03-…`."""
        return cls(ClaudeAuthenticationSource.CLIENT_API_KEY, {"apiKey": key})

    @classmethod
    def license(
        cls,
        access_token: str,
        refresh_token: str | None = None,
        *,
        expires_at: datetime | None = None,
        scopes: Iterable[str] = (),
        subscription_type: str | None = None,
    ) -> "ClaudeAuthentication":
        """Your Claude Pro or Max subscription. `expires_at` needs a time zone; `subscription_type` is `pro` or `max`.

        With a refresh token the server renews the access token when it must, as long as the process lives.
        """
        found: dict[str, JsonValue] = {"oAuthAccessToken": access_token}
        if refresh_token is not None:
            found["oAuthRefreshToken"] = refresh_token
        if expires_at is not None:
            found["oAuthExpiresAt"] = _utc_text(expires_at)
        if given := list(scopes):
            found["oAuthScopes"] = given
        if subscription_type is not None:
            found["oAuthSubscriptionType"] = subscription_type
        return cls(ClaudeAuthenticationSource.CLIENT_LICENSE, found)

    @classmethod
    def dummy(cls) -> "ClaudeAuthentication":
        """No model and no cost: the Dummy engine writes placeholders. For tests."""
        return cls.api_key(DUMMY_API_KEY)

    def to_json(self) -> dict[str, JsonValue]:
        return {"source": str(self.source), **self._secrets}


def steps_json(steps: Iterable[StepLike]) -> list[JsonValue]:
    """Steps as the API takes them. Mappings go as they are: the server says what is wrong with one."""
    if isinstance(steps, str | Mapping | Step):
        raise TypeError("steps must be a list of steps, not a single one.")
    return [
        step.to_json() if isinstance(step, Step) else Step(step).to_json() if isinstance(step, str) else dict(step)
        for step in steps
    ]


def ssh_key_base64(key: SshKey) -> str:
    """A private key in the form that the API takes. Raises ValueError for text that is no private key."""
    if isinstance(key, Path):
        key = key.read_bytes()
    if isinstance(key, str):
        if "-----BEGIN" not in key:
            raise ValueError("git_ssh_key is not the text of a private key. For a file give pathlib.Path(…).")
        key = key.encode()
    return base64.b64encode(key).decode()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to send, as often as it takes."""

    name: str
    content_type: str
    _content: bytes | Path | BinaryIO = field(repr=False)

    @classmethod
    def of(
        cls, file: "bytes | str | os.PathLike[str] | BinaryIO", name: str | None, content_type: str | None
    ) -> "Upload":
        """From bytes, a path, or a file that was opened to read bytes, from where it is."""
        content: bytes | Path | BinaryIO = Path(file) if isinstance(file, str | os.PathLike) else file
        if name is None:
            given = content.name if isinstance(content, Path) else getattr(content, "name", None)
            name = Path(given).name if isinstance(given, str) and given else "upload"
        kind = content_type or guess_type(name)[0] or "application/octet-stream"
        if isinstance(content, bytes | Path):
            return cls(name, kind, content)
        if content.seekable() and content.tell() == 0:
            return cls(name, kind, content)
        return cls(name, kind, content.read())  # a pipe gives its bytes once, and httpx2 rewinds to the beginning

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The bytes to read, from their beginning. A path is opened and closed here; a caller's file stays open."""
        if isinstance(self._content, bytes):
            yield BytesIO(self._content)
        elif isinstance(self._content, Path):
            with self._content.open("rb") as file:
                yield file
        else:
            self._content.seek(0)
            yield self._content


def _utc_text(date: datetime) -> str:
    if date.tzinfo is None:
        raise ValueError("expires_at needs a time zone, such as datetime.now(UTC) has.")
    return date.astimezone(UTC).isoformat().replace("+00:00", "Z")
