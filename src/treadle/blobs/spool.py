"""Bytes that come piece by piece, laid by until they are all there."""

import errno
import io
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from anyio import to_thread

from treadle.domain.errors import ConfigurationError, Unavailable

T = TypeVar("T")

#: Up to so many bytes are held in memory.
MEMORY_BYTES = 1 << 20


@asynccontextmanager
async def spooled(pieces: AsyncIterator[bytes], directory: Path) -> AsyncIterator[BinaryIO]:
    """All of `pieces` as a file at its beginning: in memory, or a file without a name in `directory`, of which a
    killed process leaves nothing. Raises what `pieces` raises, Unavailable for a full disk, ConfigurationError."""
    with ExitStack() as stack:
        file: BinaryIO | None = None
        pending = bytearray()
        async for piece in pieces:
            pending += piece
            if len(pending) >= MEMORY_BYTES:
                if file is None:
                    file = stack.enter_context(await _try(directory, partial(_make, directory)))
                await _try(directory, partial(file.write, bytes(pending)))
                pending.clear()
        if file is None:
            yield io.BytesIO(bytes(pending))
            return
        await _try(directory, partial(file.write, bytes(pending)))
        await _try(directory, partial(file.seek, 0))
        yield file


def _make(directory: Path) -> BinaryIO:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return cast("BinaryIO", tempfile.TemporaryFile(dir=directory, prefix=".upload-"))  # typed as a wrapper


async def _try(directory: Path, work: Callable[[], T]) -> T:
    try:
        return await to_thread.run_sync(work)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Unavailable(
                f"There is no space left for uploads in {directory}.",
                hint="Free some, or point TREADLE_DATA_DIR at a larger place.",
            ) from error
        raise ConfigurationError(f"{directory} cannot be written to: {error.strerror or error}.") from error
