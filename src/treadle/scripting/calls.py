"""What a script may ask for: every call's name and parameters, and how a call is told from another."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Signature:
    """`required` and `optional` may be given by position, in this order. `is_open`: any other name may be given too,
    and whoever answers the call judges it."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    is_open: bool = False


#: By the name that a script uses.
CALLS: Final[Mapping[str, Signature]] = {
    "codegeneration.start": Signature(is_open=True),
    "codegeneration.get": Signature(("id",)),
    "codegeneration.list": Signature((), ("status", "limit")),
    "codegeneration.await": Signature(("id",)),
    "codegeneration.diff": Signature(("id",)),
    "codegeneration.resume": Signature(("id", "text")),
    "codegeneration.kill": Signature(("id",)),
    "files.upload": Signature(("name", "text")),
    "files.list": Signature(),
    "files.get": Signature(("id",)),
    "repositories.list": Signature(),
}


def digest_of(name: str, arguments: Mapping[str, object]) -> str:
    """The same for the same name and the same JSON, whatever the order of the arguments."""
    canonical = json.dumps([name, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
