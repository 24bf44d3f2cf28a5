"""Where downloads go."""

import sys
from pathlib import Path

from treadle.cli import output
from treadle.cli.text import one_line
from treadle.domain.errors import Conflict


def save(content: bytes, name: str, to: Path | None) -> None:
    """Writes `content` to `to`, to standard output for `-`, or under its own name. That is a name from elsewhere: only
    its last part counts, and a file that is there is never written over. Raises Conflict."""
    if to == Path("-"):
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path = to if to is not None else Path(Path(name).name)
    if to is None and path.exists():
        raise Conflict(f"{path} is here already.", hint="--output gives another name.")
    path.write_bytes(content)
    output.line(one_line(str(path)))
