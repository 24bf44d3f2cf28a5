"""Every blob of one place copied to another, while services may go on with either."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from anyio import create_memory_object_stream, create_task_group
from anyio.streams.memory import MemoryObjectReceiveStream

from treadle.domain.errors import NotFound, TreadleError, Unavailable
from treadle.ports import BlobEntry, Blobs

#: Blobs on their way at once.
AT_ONCE = 8
#: Copies of a blob whose content is replaced while it is read, or that does not arrive as it left.
COPY_TRIES = 3


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the blobs; sizes in bytes. `gone`: deleted meanwhile. `failed`: (key, why)."""

    copied: int = 0
    copied_bytes: int = 0
    there: int = 0
    there_bytes: int = 0
    gone: int = 0
    failed: tuple[tuple[str, str], ...] = ()

    def with_one(self, size: int, *, is_there: bool) -> "Tally":
        if is_there:
            return replace(self, there=self.there + 1, there_bytes=self.there_bytes + size)
        return replace(self, copied=self.copied + 1, copied_bytes=self.copied_bytes + size)

    @property
    def seen(self) -> int:
        return self.copied + self.there + self.gone + len(self.failed)


class Copying:
    """One pass from `source` to `target`. What is there already, of the same size and not older, stays unless `verify`
    finds another content; so a pass that was broken off is gone on with by another."""

    def __init__(self, source: Blobs, target: Blobs, *, verify: bool = False) -> None:
        self._source = source
        self._target = target
        self._verify = verify
        self._stopped: Unavailable | None = None
        self.tally = Tally()  # so far

    async def run(self) -> Tally:
        """Goes on past a blob that fails. Raises Unavailable when a place is away, ConfigurationError when it cannot
        be listed."""
        there = {entry.key: entry async for entry in self._target.entries()}
        send, receive = create_memory_object_stream[BlobEntry](AT_ONCE)
        failure: TreadleError | None = None
        async with create_task_group() as tasks:

            async def work(waiting: MemoryObjectReceiveStream[BlobEntry]) -> None:
                async with waiting:
                    async for entry in waiting:
                        try:
                            await self._bring(entry, there.get(entry.key))
                        except Unavailable as error:
                            self._stopped = error
                            tasks.cancel_scope.cancel()

            async with receive, send:
                for _ in range(AT_ONCE):
                    tasks.start_soon(work, receive.clone())
                try:
                    async for entry in self._source.entries():
                        await send.send(entry)
                except TreadleError as error:
                    failure = error  # raised outside of the group, which would wrap it
                    tasks.cancel_scope.cancel()
        if stopped := self._stopped or failure:
            raise stopped
        return self.tally

    async def _bring(self, entry: BlobEntry, known: BlobEntry | None) -> None:
        """Raises Unavailable; whatever else happens is in the tally."""
        try:
            is_there = known is not None and await self._is_there(entry, known)
            size = entry.size if is_there else await self._copy(entry.key)
        except NotFound:
            self.tally = replace(self.tally, gone=self.tally.gone + 1)
        except Unavailable:
            raise
        except TreadleError as error:
            self.tally = replace(self.tally, failed=(*self.tally.failed, (entry.key, error.message)))
        else:
            self.tally = self.tally.with_one(size, is_there=is_there)

    async def _is_there(self, entry: BlobEntry, known: BlobEntry) -> bool:
        if known.size != entry.size or known.date_modified < entry.date_modified.replace(microsecond=0):
            return False  # S3 knows whole seconds only
        if not self._verify:
            return True
        return await _digest(self._source, entry.key) == await _digest(self._target, entry.key)

    async def _copy(self, key: str) -> int:
        """Bytes copied. Raises NotFound when it is gone."""
        for _ in range(COPY_TRIES):
            sent = _Sent()
            size = await self._target.put(key, sent.passing(self._source.stream(key)))
            if not self._verify or sent.digest == await _digest(self._target, key):
                return size
        raise TreadleError("It does not arrive as it left.")


class _Sent:
    """Hashes what passes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    async def passing(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._hash.update(chunk)
            yield chunk


async def _digest(blobs: Blobs, key: str) -> bytes:
    """Raises NotFound."""
    sent = _Sent()
    async for _ in sent.passing(blobs.stream(key)):
        pass
    return sent.digest
