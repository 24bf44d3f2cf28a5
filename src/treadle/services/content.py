"""Stored bytes on their way out: read whole, or streamed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

from treadle.ports import Blobs


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes in the blobs. `size` is in bytes."""

    key: str
    size: int
    content_type: str
    blobs: Blobs = field(repr=False)

    async def read(self) -> bytes:
        """All of them. Raises NotFound."""
        return await self.blobs.get(self.key)

    def stream(self) -> AsyncIterator[bytes]:
        """Chunk by chunk. Raises NotFound on the first step."""
        return self.blobs.stream(self.key)


def checkpoints_of(run_uuid: UUID) -> str:
    """The prefix of what is kept of a run in case its worker dies, or somebody resumes it: the engine's conversation,
    and work not yet pushed."""
    return f"runs/{run_uuid}/checkpoint/"
