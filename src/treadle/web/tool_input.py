"""What a tool was given, made readable: commands as commands, edits as small diffs, files as code, the rest as fields.

An input may have any shape; one that is not what its tool should have is shown as it is.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import takewhile

from markupsafe import Markup

from treadle.domain.events import JsonObject, JsonValue
from treadle.web.pages.diff.highlighting import highlight
from treadle.web.pages.diff.markup import code
from treadle.web.text import clipped

#: Lines of an edit, on each side, that are compared, beside those that both begin and end with; a longer one is shown
#: as its old lines and then its new ones.
MAX_COMPARED_LINES = 400

#: Edits of one call, and fields of one input, that are shown.
MAX_PARTS = 50

#: Characters of a file that are shown.
MAX_CODE = 8_000

#: Unchanged lines around a change.
_CONTEXT = 2

_NOT_COMPARED = "Too many lines to compare: the old ones, and then the new ones."


class BlockKind(StrEnum):
    COMMAND = "command"
    CODE = "code"
    DIFF = "diff"
    FIELDS = "fields"
    JSON = "json"
    TEXT = "text"
    TASKS = "tasks"


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an input. `rows`: of a diff (sign, line), of fields (name, value), of tasks (state, text)."""

    kind: BlockKind
    text: str = ""
    rows: Sequence[tuple[str, str]] = ()
    path: str = ""

    def lines(self) -> tuple[Sequence[Markup], int]:
        """The text in the colours of its language, at most MAX_CODE characters of it; how many are left out."""
        shown, gone = clipped(self.text, MAX_CODE)
        plain = shown.split("\n")
        colours = highlight(self.path, plain)
        return [code(line, colours[number] if colours else ()) for number, line in enumerate(plain)], gone


def summary(given: JsonValue) -> str:
    """What a call is about, in the words of its input: a command, a path, a pattern."""
    if not isinstance(given, Mapping):
        return given if isinstance(given, str) else ""
    for name in ("command", "file_path", "path", "notebook_path", "pattern", "url", "query", "description", "prompt"):
        found = given.get(name)
        if isinstance(found, str) and found.strip():
            return found
    return next((value for value in given.values() if isinstance(value, str) and value.strip()), "")


def blocks(given: JsonValue) -> Sequence[Block]:
    """An input, told by its fields: the tools of the engines have other names for the same."""
    if given is None or given == {}:
        return ()
    if isinstance(given, str):
        return (Block(BlockKind.TEXT, given),)
    if not isinstance(given, Mapping):
        return (Block(BlockKind.JSON, pretty(given)),)
    for made in (_command, _edits, _file, _tasks):
        found = made(given)
        if found is not None:
            own, used = found
            rest = {name: value for name, value in given.items() if name not in used}
            return (*own, *_fields(rest))
    return _fields(given)


def pretty(value: JsonValue) -> str:
    """JSON for people."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, default=str)
    except (ValueError, RecursionError, TypeError):
        return str(value)


def small_diff(old: str, new: str) -> Sequence[tuple[str, str]]:
    """Rows of sign (` `, `-`, `+`, `…`) and line. Of what is too long to be compared, the first says so."""
    before, after = old.split("\n"), new.split("\n")
    if before == after:
        return []
    head = _alike(before, after)
    tail = _alike(reversed(before[head:]), reversed(after[head:]))
    if max(len(before), len(after)) - head - tail > MAX_COMPARED_LINES:
        removed, added = before[head : len(before) - tail], after[head : len(after) - tail]
        return [("…", _NOT_COMPARED), *(("-", line) for line in removed), *(("+", line) for line in added)]
    first, last = max(head - _CONTEXT, 0), max(tail - _CONTEXT, 0)
    before, after = before[first : len(before) - last], after[first : len(after) - last]
    rows: list[tuple[str, str]] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for number, group in enumerate(matcher.get_grouped_opcodes(_CONTEXT)):
        if number:
            rows.append(("…", ""))
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                rows += [(" ", line) for line in before[start:end]]
                continue
            rows += [("-", line) for line in before[start:end]] + [("+", line) for line in after[new_start:new_end]]
    return rows


def _alike(before: Iterable[str], after: Iterable[str]) -> int:
    """How many lines they begin with alike."""
    pairs = zip(before, after, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


_Made = tuple[Sequence[Block], frozenset[str]] | None


def _command(given: JsonObject) -> _Made:
    command = given.get("command")
    if isinstance(command, str):
        return (Block(BlockKind.COMMAND, command),), frozenset({"command"})
    if isinstance(command, Sequence) and command and all(isinstance(part, str) for part in command):
        return (Block(BlockKind.COMMAND, " ".join(map(str, command))),), frozenset({"command"})
    return None


def _edits(given: JsonObject) -> _Made:
    path, names = _path(given)
    if (pair := _pair(given)) is not None:
        used = names | {"old_string", "new_string", "old", "new"}
        return (Block(BlockKind.DIFF, rows=small_diff(*pair), path=path),), used
    for name in ("edits", "edit"):
        edits = given.get(name)
        many = [edits] if isinstance(edits, Mapping) else edits
        if not isinstance(many, Sequence) or isinstance(many, str) or not many:
            continue
        pairs = [_pair(each) if isinstance(each, Mapping) else None for each in many[:MAX_PARTS]]
        if all(each is not None for each in pairs):
            made = [Block(BlockKind.DIFF, rows=small_diff(*each), path=path) for each in pairs if each is not None]
            if len(many) > MAX_PARTS:
                made.append(Block(BlockKind.TEXT, f"… and {len(many) - MAX_PARTS} more edits"))
            return made, names | {name}
    return None


def _pair(given: JsonObject) -> tuple[str, str] | None:
    for old_name, new_name in (("old_string", "new_string"), ("old", "new")):
        old, new = given.get(old_name), given.get(new_name)
        if isinstance(old, str) and isinstance(new, str):
            return old, new
    return None


def _file(given: JsonObject) -> _Made:
    path, names = _path(given)
    content = given.get("content")
    if path and isinstance(content, str):
        return (Block(BlockKind.CODE, content, path=path),), names | {"content"}
    return None


def _tasks(given: JsonObject) -> _Made:
    todos = given.get("todos")
    if not isinstance(todos, Sequence) or isinstance(todos, str) or not todos:
        return None
    rows = [
        (str(each.get("status") or ""), str(each.get("content") or each.get("title") or ""))
        for each in todos[:MAX_PARTS]
        if isinstance(each, Mapping)
    ]
    return ((Block(BlockKind.TASKS, rows=rows),), frozenset({"todos"})) if len(rows) == len(todos) else None


def _path(given: JsonObject) -> tuple[str, frozenset[str]]:
    for name in ("file_path", "path", "notebook_path"):
        found = given.get(name)
        if isinstance(found, str) and found:
            return found, frozenset({name})
    return "", frozenset()


def _fields(given: JsonObject) -> Sequence[Block]:
    if not given:
        return ()
    rows = [
        (str(name), value if isinstance(value, str) else pretty(value))
        for name, value in list(given.items())[:MAX_PARTS]
    ]
    if len(given) > MAX_PARTS:
        rows.append(("…", f"and {len(given) - MAX_PARTS} more"))
    return (Block(BlockKind.FIELDS, rows=rows),)
