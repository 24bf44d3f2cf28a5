"""Files of a repository, read where it is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from treadle.domain.credentials import GitCredentials


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """`content` None: it has more than the bytes that were allowed."""

    name: str
    size: int
    content: bytes | None


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """The first files of a folder by name, and how many there are besides. `commit`: what they are of."""

    commit: str
    files: Sequence[RemoteFile]
    more: int = 0


class RemoteFiles(Protocol):
    async def folder(
        self,
        url: str,
        organization_uuid: UUID,
        credentials: GitCredentials,
        *,
        branch: str,
        path: str,
        endings: Collection[str],
        most_files: int,
        most_bytes: int,
    ) -> RemoteFolder:
        """The files right in the folder `path` whose names have one of `endings`: nothing that is a link, a submodule
        or a folder. A folder that is not there has none. Raises RunError with the cause, within some seconds."""
