"""Faults of the services in the words of the code-generation API."""

from collections.abc import Iterator
from contextlib import contextmanager

from treadle.domain.errors import InvalidInput

#: The services' names of fields, as they are written here.
_FIELDS = {
    "file_ids": "fileIds",
    "claude_authentication": "claudeAuthentication",
    "max_cost_usd": "maxCostUsd",
}


@contextmanager
def wire_paths() -> Iterator[None]:
    """Faults that a service finds inside name the fields as the caller wrote them."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput({_path(path): said for path, said in error.faults.items()}, error.message) from None


def _path(path: str) -> str:
    name, bracket, place = path.partition("[")
    return f"{_FIELDS.get(name, name)}{bracket}{place}"
