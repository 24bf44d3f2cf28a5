"""Uploaded files: bytes in the blobs, what is known of them in the store."""

import hashlib
import re
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from uuid import UUID

import anyio

from treadle.domain.errors import ConfigurationError, NotFound, TooLarge
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.domain.run import StoredFile
from treadle.ports import Blobs, Clock, FileStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.content import Content

#: Longest file name, in bytes of UTF-8: what Linux file systems take.
MAX_NAME_BYTES = 255
DEFAULT_TYPE = "application/octet-stream"

#: How long cleaning up may take once the upload itself was broken off, in seconds.
_CLEANUP_SECONDS = 10

_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}(?:\s*;\s*[\w.-]{1,50}=[\w.\"'-]{1,100})*", re.ASCII)


class Files:
    """The use cases around files. An ADMIN has the organization's, others their own; the rest is NotFound."""

    def __init__(
        self,
        store: FileStore,
        blobs: Blobs,
        clock: Clock,
        *,
        audit: Audit,
        new_uuid: Callable[[], UUID],
        max_bytes: int,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._audit = audit
        self._new_uuid = new_uuid
        self.max_bytes = max_bytes

    async def upload(
        self,
        principal: Principal,
        name: str,
        content_type: str | None,
        chunks: AsyncIterator[bytes],
        *,
        uuid: UUID | None = None,
    ) -> StoredFile:
        """Keeps the bytes as they arrive. Raises TooLarge; then, as whenever it is broken off, nothing is kept. `uuid`:
        of whoever may have to ask again and wants one file: the one that has it already is the answer then."""
        if uuid is not None:
            with suppress(NotFound):
                return await self.get(principal, uuid)
        file_id = uuid or self._new_uuid()
        counter = _Counter()
        key = blob_key(principal.organization_uuid, file_id)
        try:
            await self._blobs.put(key, counter.count(chunks, self.max_bytes))
            file = StoredFile(
                id=file_id,
                organization_id=principal.organization_id,
                user_id=principal.user_id,
                name=safe_name(name),
                content_type=content_type if content_type and _MEDIA_TYPE.fullmatch(content_type) else DEFAULT_TYPE,
                size=counter.size,
                sha256=counter.digest.hexdigest(),
                date_created=self._clock.now(),
            )
            await self._store.add_file(file)
        except BaseException:
            # What cannot be removed now is found by `treadle prune`; why it failed is the better story.
            with anyio.move_on_after(_CLEANUP_SECONDS, shield=True), suppress(ConfigurationError):
                await self._blobs.delete(key)
            raise
        detail: JsonObject = {"name": file.name, "bytes": file.size}
        await self._audit.note(Action.FILE_UPLOADED, principal=principal, target=file.id, detail=detail)
        return file

    async def get(self, principal: Principal, file_id: UUID) -> StoredFile:
        return await self._store.get_file(file_id, principal.organization_id, _owner(principal))

    async def list(self, principal: Principal, *, limit: int, skip: int = 0) -> Sequence[StoredFile]:
        """Newest first."""
        return await self._store.list_files(principal.organization_id, _owner(principal), limit=limit, skip=skip)

    async def content(self, principal: Principal, file_id: UUID) -> tuple[StoredFile, Content]:
        file = await self.get(principal, file_id)
        key = blob_key(principal.organization_uuid, file.id)
        return file, Content(key, file.size, file.content_type, self._blobs)

    async def delete(self, principal: Principal, file_id: UUID) -> None:
        """Raises Conflict while a living run refers to it."""
        file = await self._store.delete_file(file_id, principal.organization_id, _owner(principal))
        await self._blobs.delete(blob_key(principal.organization_uuid, file.id))
        await self._audit.note(
            Action.FILE_DELETED, principal=principal, target=file.id, detail={"name": file.name, "owner": file.user_id}
        )


def safe_name(name: str) -> str:
    """`name` as a file may be called on any disk: the last part of a path, without control characters, at most
    MAX_NAME_BYTES long with its ending kept; `file` when nothing is left."""
    text = unicodedata.normalize("NFC", name.encode(errors="ignore").decode())
    text = re.split(r"[/\\]", text)[-1]
    text = "".join(character for character in text if unicodedata.category(character)[0] != "C").strip().rstrip(".")
    text = f"_{text[1:]}" if text.startswith("-") else text  # never an option to a program
    if len(text.encode()) > MAX_NAME_BYTES:
        stem, dot, ending = text.rpartition(".")
        ending = f".{ending}" if dot and len(ending) <= 20 else ""  # noqa: PLR2004 - longer is no file type
        stem = stem if ending else text
        text = stem.encode()[: MAX_NAME_BYTES - len(ending.encode())].decode(errors="ignore") + ending
    return text or "file"


def too_large(limit: int) -> TooLarge:
    """The error for a file of more than `limit` bytes."""
    return TooLarge(f"A file may hold at most {limit:,} bytes.")


def blob_key(organization_uuid: UUID, file_id: UUID) -> str:
    """Where a file's bytes are."""
    return f"files/{organization_uuid}/{file_id}"


class _Counter:
    """Passes chunks on, and counts and hashes them."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = hashlib.sha256()

    async def count(self, chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
        """Raises TooLarge past `limit` bytes."""
        async for chunk in chunks:
            self.size += len(chunk)
            if self.size > limit:
                raise too_large(limit)
            self.digest.update(chunk)
            yield chunk


def _owner(principal: Principal) -> int | None:
    return None if principal.sees_whole_organization else principal.user_id
