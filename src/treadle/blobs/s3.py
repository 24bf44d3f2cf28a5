"""Bytes in a bucket of an S3-compatible service: one object a key.

obstore's synchronous calls, in threads of our own: its asynchronous ones can abort the interpreter. Each call makes a
few tries by itself and ends in bounded time; a call that Python has given up goes on to that end in its thread.
"""

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar
from uuid import uuid4

import obstore
from anyio import CancelScope, CapacityLimiter, to_thread
from obstore.store import S3Store
from pydantic import SecretStr

from treadle.blobs.keys import is_key, segments
from treadle.blobs.s3_errors import Where
from treadle.blobs.spool import spooled
from treadle.domain.errors import ConfigurationError
from treadle.ports import BlobEntry

T = TypeVar("T")

#: Time to get a connection.
CONNECT_SECONDS: Final = 3
#: Longest silence of the service, and longest time for it to take a part.
SILENCE_SECONDS: Final = 15
#: Further tries of one request, with growing pauses; none begins after RETRY_SECONDS.
MAX_RETRIES: Final = 6
RETRY_SECONDS: Final = 15
#: Longest time for one object to be read. It only ends a service that sends a byte now and then, for ever.
_REQUEST_SECONDS: Final = 6 * 3600

#: What is larger is uploaded in parts of this size (the least that S3 takes), so many at once.
PART_BYTES: Final = 5 << 20
PARTS_AT_ONCE: Final = 2
_PIECE_BYTES: Final = 1 << 20

#: Uploads at once, which bounds their memory: each holds PARTS_AT_ONCE + 1 parts.
UPLOADS: Final = 12
#: Other calls at once.
CALLS: Final = 16

#: After a check that wrote, the next ones only ask for so many seconds.
TRUSTED_SECONDS: Final = 600

#: Keys in one answer, and in one deletion; S3's own limit.
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class S3Account:
    """How to reach the service. None: as AWS's own environment variables, or the machine's role, say."""

    endpoint: str | None = None  # http(s)://host[:port]; None: AWS
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None


class S3Blobs:
    """The Blobs port in `bucket`, below `prefix`. What does not fit into memory waits in a nameless file in `spool`
    for its upload."""

    def __init__(self, bucket: str, prefix: str, account: S3Account, *, spool: Path) -> None:
        self._where = Where(bucket, account.endpoint or "S3")
        self._spool = spool
        with self._where.speaking():
            self._store = _open(bucket, prefix, account)
        self._trusted_until = 0.0
        self._uploads = CapacityLimiter(UPLOADS)
        self._calls = CapacityLimiter(CALLS)

    async def put(self, key: str, data: bytes | Path | AsyncIterator[bytes]) -> int:
        segments(key)
        if isinstance(data, bytes):
            return await self._upload(key, lambda: io.BytesIO(data))
        if isinstance(data, Path):
            return await self._upload(key, lambda: data.open("rb"))
        # All of it before the first byte goes out: a client that goes away leaves no half upload there.
        async with spooled(data, self._spool) as file:
            return await self._upload(key, lambda: nullcontext(file))

    async def get(self, key: str) -> bytes:
        segments(key)
        return await self._call(lambda: bytes(obstore.get(self._store, key).bytes()), key)

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        segments(key)
        found = await self._call(partial(obstore.get, self._store, key), key)
        # Their chunks are of at least the size that is asked for, ours of at most. A connection that breaks is opened
        # again for the rest of the same version, by its tag.
        chunks = found.stream(min_chunk_size=max(1, chunk_bytes // 2))
        while chunk := await self._call(lambda: next(chunks, b""), key):
            for start in range(0, len(chunk), chunk_bytes):
                yield chunk[start : start + chunk_bytes]

    async def delete(self, key: str) -> None:
        segments(key)
        await self._call(partial(obstore.delete, self._store, [key]))

    async def delete_prefix(self, prefix: str) -> None:
        prefix = prefix.removesuffix("/")
        await self.delete(prefix)
        pages = self._list(prefix)
        while page := await self._call(lambda: next(pages, ())):
            await self._call(partial(obstore.delete, self._store, [each["path"] for each in page]))

    async def entries(self, prefix: str = "") -> AsyncIterator[BlobEntry]:
        if prefix:
            prefix = prefix.removesuffix("/")
            segments(prefix)
        pages = self._list(prefix)
        while page := await self._call(lambda: next(pages, ())):
            for each in page:
                if is_key(each["path"]):
                    yield BlobEntry(each["path"], each["size"], each["last_modified"])

    async def check(self) -> None:
        """Writes, reads and deletes the first time and now and then; in between it only asks: probes come often."""
        now = time.monotonic()
        if now < self._trusted_until:
            await self._call(lambda: next(self._list("check"), ()))
            return
        await self._write_and_read()
        self._trusted_until = now + TRUSTED_SECONDS

    async def _write_and_read(self) -> None:
        key, content = f"check-{uuid4().hex}", b"treadle\n"  # of its own: other processes check at the same time
        await self._call(partial(obstore.put, self._store, key, content))
        try:
            if await self.get(key) != content:
                raise ConfigurationError(
                    f"{self._where.service} gives back other bytes than it was given.",
                    hint="Is there a cache in front of it?",
                )
            await self._call(lambda: next(self._list(key), ()))
        finally:
            with CancelScope(shield=True):  # bounded, as every call is
                await self.delete(key)

    def _list(self, prefix: str) -> Iterator[Any]:  # of obstore's ObjectMeta, which exists for type checkers only
        return iter(obstore.list(self._store, prefix or None, chunk_size=_PAGE))

    async def _call(self, work: Callable[[], T], key: str = "") -> T:
        def spoken() -> T:
            with self._where.speaking(key):
                return work()

        return await to_thread.run_sync(spoken, limiter=self._calls, abandon_on_cancel=True)

    async def _upload(self, key: str, opened: Callable[[], AbstractContextManager[BinaryIO]]) -> int:
        upload = _Upload(self._store, self._where, key, opened)
        task = asyncio.ensure_future(to_thread.run_sync(upload.run, limiter=self._uploads))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Until it has told the service to forget the parts; and so that what the caller does next to this key,
            # such as deleting it, is not overtaken.
            upload.stop()
            with CancelScope(shield=True):
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
            raise


class _Upload:
    """One put, in a thread; another thread may stop it between two pieces."""

    def __init__(
        self, store: S3Store, where: Where, key: str, opened: Callable[[], AbstractContextManager[BinaryIO]]
    ) -> None:
        self._store = store
        self._where = where
        self._key = key
        self._opened = opened
        self._is_stopped = threading.Event()
        self._size = 0

    def run(self) -> int:
        """Bytes written. Raises _Stopped."""
        with self._opened() as file:
            head = file.read(PART_BYTES + 1)
            if self._is_stopped.is_set():
                raise _Stopped
            with self._where.speaking():
                if len(head) <= PART_BYTES:
                    obstore.put(self._store, self._key, head, use_multipart=False)
                    return len(head)
                obstore.put(  # which has the parts forgotten when `_pieces` raises
                    self._store,
                    self._key,
                    self._pieces(head, file),
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
        return self._size

    def stop(self) -> None:
        self._is_stopped.set()

    def _pieces(self, head: bytes, file: BinaryIO) -> Iterator[bytes]:
        piece = head
        del head
        while piece:
            self._size += len(piece)
            yield piece
            if self._is_stopped.is_set():
                raise _Stopped
            piece = file.read(_PIECE_BYTES)


class _Stopped(Exception):
    """The caller was cancelled; nobody hears this."""


def _open(bucket: str, prefix: str, account: S3Account) -> S3Store:
    key, secret = account.access_key_id, account.secret_access_key
    # Given by the settings, the endpoint counts above all that the environment may say of it.
    given = {"endpoint": account.endpoint, "aws_endpoint_url_s3": account.endpoint, "region": account.region}
    config: Any = {name: value for name, value in given.items() if value is not None}  # a type checkers' TypedDict
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        client_options={
            "allow_http": (account.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=SILENCE_SECONDS),
            "timeout": timedelta(seconds=_REQUEST_SECONDS),
        },
        retry_config={
            "max_retries": MAX_RETRIES,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=0.2),
                "max_backoff": timedelta(seconds=3),
                "base": 3,
            },
        },
        # Not as a part of the configuration: the environment's session token would be sent beside a key of ours.
        credential_provider=_Key(key, secret) if key is not None and secret is not None else None,
    )


@dataclass(frozen=True, slots=True)
class _Key:
    """Gives obstore a key that does not expire."""

    key: str
    secret: SecretStr

    def __call__(self) -> Any:  # obstore's S3Credential, which exists for type checkers only
        return {"access_key_id": self.key, "secret_access_key": self.secret.get_secret_value(), "expires_at": None}
