"""Files that come with the form: kept as they come, so that a fault elsewhere does not lose them."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from uuid import UUID

from starlette.datastructures import FormData, UploadFile

from treadle.domain.errors import Conflict, NotFound, TooLarge
from treadle.domain.identity import Principal
from treadle.domain.run import StoredFile
from treadle.services.files import Files
from treadle.services.run_rules import MAX_FILES
from treadle.web.site import Site

#: Bytes of a whole form, with its files; or one file of the largest size, if that is more.
MAX_FORM_BYTES = 256 << 20

#: What a form may hold beside one file of the largest size, in bytes.
_BESIDE_BYTES = 4 << 20

_CHUNK_BYTES = 1 << 18
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def most_bytes(site: Site) -> int:
    """Of a whole form."""
    return max(MAX_FORM_BYTES, site.settings.max_file_bytes + _BESIDE_BYTES)


async def kept(files: Files, principal: Principal, form: FormData) -> list[StoredFile]:
    """Those uploaded earlier that the form still names, if they are the caller's."""
    texts = [value for value in form.getlist("file") if isinstance(value, str) and _UUID.fullmatch(value)]
    return await known(files, principal, [UUID(text) for text in dict.fromkeys(texts)][: 2 * MAX_FILES])


async def known(files: Files, principal: Principal, file_ids: Sequence[UUID]) -> list[StoredFile]:
    """Those that are the caller's to see."""
    found = list[StoredFile]()
    for file_id in file_ids:
        with suppress(NotFound):
            found.append(await files.get(principal, file_id))
    return found


async def take(files: Files, principal: Principal, form: FormData) -> tuple[list[StoredFile], list[str]]:
    """Keeps the form's new files; and what is wrong with those that are not kept."""
    found, faults = list[StoredFile](), list[str]()
    for upload in form.getlist("files"):
        if not isinstance(upload, UploadFile) or not upload.filename:
            continue
        try:
            found.append(await files.upload(principal, upload.filename, upload.content_type, _chunks(upload)))
        except TooLarge as error:
            faults.append(f"{upload.filename[:200]}: {error.sentence()}")
    return found, faults


async def drop(files: Files, principal: Principal, unused: Sequence[StoredFile]) -> None:
    for file in unused:
        with suppress(NotFound, Conflict):
            await files.delete(principal, file.id)


async def _chunks(upload: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await upload.read(_CHUNK_BYTES):
        yield chunk
