"""Where what setup commands left is kept, to be used again; each result says which key has sealed it."""

from typing import Final
from uuid import UUID

from treadle.ports import Blobs

_PREFIX: Final = "setup"


def setup_results_of(repository_uuid: UUID) -> str:
    """The prefix of a repository's."""
    return f"{_PREFIX}/{repository_uuid}"


def setup_result(repository_uuid: UUID, digest: str, key_id: str) -> str:
    """The key of the one of that digest, as the sealing key of that id has sealed it."""
    return f"{setup_results_of(repository_uuid)}/{digest}{_ending(key_id)}"


async def forget_other_keys(blobs: Blobs, key_id: str) -> int:
    """Removes the results, of all repositories, that another key has sealed; how many. Their commands run once more."""
    old = [each.key async for each in blobs.entries(_PREFIX) if not each.key.endswith(_ending(key_id))]
    for key in old:
        await blobs.delete(key)
    return len(old)


def _ending(key_id: str) -> str:
    return f".{key_id}.sealed"
