"""The version before this one, out of the repository's own history: code that knows the schema 0001 only."""

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCHEMA = "0001"

#: What the version after it brought, in the file that brought it. Between that commit and the one that changed the
#: schema lies a time in which no commit was a version.
_SINCE = ("organization_slots", "src/treadle/settings.py")


class NoPrevious(Exception):
    """It is not to be had here; the message says why."""


def unpack_previous(folder: Path) -> Path:
    """Its `src`, to be put first on PYTHONPATH. Raises NoPrevious."""
    text, path = _SINCE
    added = _git("log", "--reverse", "--format=%H", f"-S{text}", "--", path).split()
    if not added:
        raise NoPrevious("The history does not hold the previous version.")
    before = _git("rev-parse", "--verify", "--quiet", f"{added[0].decode()}^").decode().strip()
    schema = _git("show", f"{before}:src/treadle/store/schema.py").decode()
    if f'HEAD = "{SCHEMA}"' not in schema:
        raise NoPrevious(f"The commit {before[:8]} has another schema than {SCHEMA}.")
    with tarfile.open(fileobj=BytesIO(_git("archive", before, "src"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            timeout=60,
            check=True,
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_COUNT": "1"}
            | {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoPrevious(f"This checkout has no history that goes back so far: {error}.") from error
    return done.stdout
