"""What is given to an agent run on the command line."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from treadle.domain.errors import InvalidInput, NotFound

_STANDARD_INPUT: Final = "-"

#: More than any number here has, and fewer than Python refuses to read.
_DIGITS: Final = 18


def prompt_of(given: str) -> str:
    """The prompt, from standard input for `-`. Raises InvalidInput for an empty one."""
    text = sys.stdin.read() if given == _STANDARD_INPUT else given
    if not text.strip():
        raise InvalidInput({"PROMPT": ["is empty"]}, "The prompt says nothing.")
    return text


def number_of(given: str) -> int:
    """An agent run's number. Raises NotFound."""
    if not (given.isascii() and given.isdecimal() and len(given) <= _DIGITS):
        raise NotFound(
            f"{given!r} is not the number of an agent run.",
            hint="`treadle agent list` shows the number of every run, those of `treadle start` too. Long ids are for "
            "`treadle show`, `watch` and `kill`.",
        )
    return int(given)


def pairs(given: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE, as often as there are. Raises InvalidInput."""
    found: dict[str, str] = {}
    faults: dict[str, list[str]] = {}
    for each in given:
        name, divider, value = each.partition("=")
        if name and divider:
            found[name] = value
        else:
            faults[f"--metadata {each}"] = ["is not KEY=VALUE"]
    if faults:
        raise InvalidInput(faults, "The metadata cannot be read.")
    return found


def check_files(images: Sequence[Path]) -> None:
    """Raises InvalidInput naming every path that is no file."""
    if faults := {f"--image {path}": ["is not a file"] for path in images if not path.is_file()}:
        raise InvalidInput(faults, "The images are not all there.")


@contextmanager
def image_faults() -> Iterator[None]:
    """What the SDK cannot take for an image is a fault of `--image`."""
    try:
        yield
    except ValueError as error:
        raise InvalidInput({"--image": [str(error)]}, "An image cannot be sent.") from None
