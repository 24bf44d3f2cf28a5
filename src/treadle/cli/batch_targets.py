"""The repositories of a batch, from a file that somebody keeps."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from treadle.cli.steps import read_text
from treadle.domain.errors import ConfigurationError, InvalidInput
from treadle.domain.events import JsonValue
from treadle.services.plans import read_yaml

_QUOTED = re.compile(r'"[^"]*"')

Target = int | str | Mapping[str, JsonValue]


def targets_in(path: Path) -> Sequence[Target]:
    """Of a CSV file with a column `repository` or `url`, and a column for each variable; or of a YAML list as the API
    takes it. Raises ConfigurationError, InvalidInput."""
    text = read_text(path.expanduser())
    return _of_table(path, text) if path.suffix.lower() == ".csv" else _of_yaml(path, text)


def named(text: str) -> Target:
    """A number is an id; the server tells a name from an address."""
    return int(text) if text.isascii() and text.isdecimal() else text


def _of_table(path: Path, text: str) -> Sequence[Target]:
    text = text.removeprefix("\ufeff")
    rows = csv.DictReader(io.StringIO(text), delimiter=_delimiter(text))
    names = rows.fieldnames or ()
    if not {"repository", "url"} & set(names):
        raise ConfigurationError(f"The file {path} has no column repository, and none url.")
    found = list[Target]()
    for row in rows:
        if None in row or None in row.values():
            raise InvalidInput({f"line {rows.line_num}": ["has not as many cells as the first line"]}, f"In {path}:")
        target: dict[str, JsonValue] = {name: row[name] for name in ("repository", "url") if row.get(name)}
        if "repository" in target:
            target["repository"] = _id_or_name(row["repository"])
        variables = {name: value for name, value in row.items() if name not in {"repository", "url"} and value}
        found.append({**target, **({"variables": variables} if variables else {})})
    return found


def _delimiter(text: str) -> str:
    """What the first line has most of, beside its quoted cells: some spreadsheets write semicolons."""
    head = _QUOTED.sub("", text.lstrip("\r\n").partition("\n")[0])
    return max(",;\t", key=head.count)


def _id_or_name(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


def _of_yaml(path: Path, text: str) -> Sequence[Target]:
    try:
        found = read_yaml(text, f"In {path}:")
    except ValueError as error:
        raise ConfigurationError(f"The file {path} is {error}.") from None
    if not isinstance(found, list) or not all(isinstance(each, int | str | dict) for each in found):
        raise ConfigurationError(f"The file {path} is no list of repositories.")
    return found
