"""Where bytes are kept, as an address says it: the one place that chooses among the adapters."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.errors import ConfigurationError
from treadle.ports import Blobs
from treadle.settings import Settings

_DIRECTORY = "blobs"

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
#: The characters that S3 calls safe, and no segment that is `.` or `..`: others would be rewritten on the way.
_PREFIX: Final = re.compile(r"(?!\.{1,2}(?:/|$))[\w!.*'()-]+(?:/(?!\.{1,2}(?:/|$))[\w!.*'()-]+)*", re.ASCII)

_ENDPOINT: Final = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/[\w./-]*)?", re.ASCII)

_HINT: Final = "It takes file:///path of a directory, or s3://bucket/prefix."


@dataclass(frozen=True, slots=True)
class DirectoryPlace:
    """A directory of this machine, or one that all of them mount."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """A bucket; `prefix` "" is all of it."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".removesuffix("/")


def place_of(blob_url: str | None, settings: Settings) -> DirectoryPlace | BucketPlace:
    """What an address names; None names the directory among the data. Raises ConfigurationError."""
    if blob_url is None:
        return DirectoryPlace(settings.data_dir / _DIRECTORY)
    parts = urlsplit(blob_url)
    if parts.scheme == "file" and not parts.netloc and parts.path:
        return DirectoryPlace(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return _bucket(parts)
    raise ConfigurationError("The address of the files is none that this version knows (TREADLE_BLOB_URL).", hint=_HINT)


def open_blobs(blob_url: str | None, settings: Settings) -> Blobs:
    """The adapter for it; nothing is asked or made yet. Raises ConfigurationError."""
    place = place_of(blob_url, settings)
    if isinstance(place, DirectoryPlace):
        return DirectoryBlobs(place.path)
    if (settings.s3_access_key_id is None) != (settings.s3_secret_access_key is None):
        raise ConfigurationError(
            "Only one of TREADLE_S3_ACCESS_KEY_ID and TREADLE_S3_SECRET_ACCESS_KEY is set.",
            hint="Set both, or neither to use AWS's own variables or the machine's role.",
        )
    try:
        from treadle.blobs.s3 import S3Account, S3Blobs  # noqa: PLC0415 - obstore comes with the extra `s3`
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "obstore":
            raise
        raise ConfigurationError(
            "Files in S3 need obstore, which is not installed.", hint="pip install 'treadle[s3]'"
        ) from error
    account = S3Account(
        endpoint=_endpoint(settings.s3_endpoint),
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
    return S3Blobs(place.bucket, place.prefix, account, spool=settings.data_dir)


def _bucket(parts: SplitResult) -> BucketPlace:
    if "@" in parts.netloc:
        raise ConfigurationError(
            "An address of a bucket holds no key (TREADLE_BLOB_URL).",
            hint="TREADLE_S3_ACCESS_KEY_ID and TREADLE_S3_SECRET_ACCESS_KEY hold them.",
        )
    prefix = parts.path.strip("/")
    is_good = _BUCKET.fullmatch(parts.netloc) and (not prefix or _PREFIX.fullmatch(prefix))
    if not is_good or parts.query or parts.fragment:
        raise ConfigurationError("The address of the bucket is not valid (TREADLE_BLOB_URL).", hint=_HINT)
    return BucketPlace(parts.netloc, prefix)


def _endpoint(given: str | None) -> str | None:
    """Checked here, because the S3 client takes anything, and then fails in strange ways."""
    if given is None:
        return None
    if not _ENDPOINT.fullmatch(given):
        raise ConfigurationError(
            "TREADLE_S3_ENDPOINT is not valid.",
            hint="It takes https://host[:port], or http:// where nobody listens in.",
        )
    return given.rstrip("/")
