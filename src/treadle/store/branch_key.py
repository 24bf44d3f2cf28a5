"""The name of an organization's work branch: the same for all of its runs that push to it."""

import hashlib
from functools import lru_cache

from treadle.domain.git_url import normalize


def branch_key(organization_id: int, git_url: str, branch_work: str) -> str:
    """128 bits of the SHA-256 of the organization, the repository's normalized address and the branch, in hexadecimal:
    an address may be longer than an index can hold. An address that cannot be read stands for itself."""
    named = f"{organization_id}\n{_repository(git_url)}\n{branch_work}"
    return hashlib.sha256(named.encode(errors="replace")).hexdigest()[:32]


@lru_cache(maxsize=1024)  # most runs are of few repositories
def _repository(git_url: str) -> str:
    try:
        return normalize(git_url)
    except ValueError:
        return git_url
