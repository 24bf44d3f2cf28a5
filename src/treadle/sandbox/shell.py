"""The two shell scripts around bubblewrap: one outside it, which becomes it, and one inside, which becomes the command.

Outside nothing of the command's environment is what it says: a variable such as `LD_PRELOAD`, which a repository may
set, would load what the agent wrote into programs that are not walled in yet. So every value travels under another
name, and gets its own back inside.

A shell costs a millisecond to start, where Python takes ten.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from treadle.domain.errors import ConfigurationError

SHELL = "/bin/sh"

#: The file descriptor that the filter of system calls is given on.
FILTER_FD = 3

_CARRIER = "TREADLE_CARRIED_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Carried:
    """An environment on its way in. `outside`: what to start with; `unpacking`: shell commands for inside."""

    outside: Mapping[str, str] = field(repr=False)
    unpacking: Sequence[str]


def carry(environment: Mapping[str, str]) -> Carried:
    """Raises ConfigurationError for a name that no shell knows how to set."""
    outside: dict[str, str] = {}
    unpacking: list[str] = []
    for number, (name, value) in enumerate(environment.items()):
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"The environment variable {name!r} cannot be set for a command.",
                hint="Its name may have letters, digits and underscores, and does not begin with a digit.",
            )
        outside[f"{_CARRIER}{number}"] = value
        unpacking.append(f'export {name}="${_CARRIER}{number}"')
    if outside:
        unpacking.append(f"unset {' '.join(outside)}")
    return Carried(outside, unpacking)


def entering(entrances: Sequence[Path], ulimits: Sequence[str], filter_file: Path | None) -> tuple[str, ...]:
    """What to put before bubblewrap's argv: joins control groups, sets limits, opens the filter, ignores SIGTERM, which
    the command is to have alone. Whatever of it fails, nothing is started."""
    lines = [
        "set -e",
        "trap '' TERM",
        *(f"echo $$ >{shlex.quote(str(entrance))}" for entrance in entrances),
        *ulimits,
        *([f"exec {FILTER_FD}<{shlex.quote(str(filter_file))}"] if filter_file is not None else []),
        'exec "$@"',
    ]
    return (SHELL, "-c", "\n".join(lines), "treadle")


def becoming(carried: Carried, ulimits: Sequence[str]) -> tuple[str, ...]:
    """What to put before the argv that is run inside."""
    return (SHELL, "-c", "\n".join(["set -e", *ulimits, *carried.unpacking, 'exec "$@"']), "treadle")
