"""The name of an organization's work branch: the same for all of its runs that push to it."""

import hashlib

from treadle.domain.git_url import normalize


def branch_key(organization_id: int, git_url: str, branch_work: str) -> str:
    """SHA-256 of the organization, the repository's normalized address and the branch, in hexadecimal: an address may
    be longer than an index can hold. An address that cannot be read stands for itself."""
    try:
        repository = normalize(git_url)
    except ValueError:
        repository = git_url
    return hashlib.sha256(f"{organization_id}\n{repository}\n{branch_work}".encode(errors="replace")).hexdigest()
