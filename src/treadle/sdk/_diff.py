"""The structured diff. Objects are made when they are looked at: a diff may have a million lines, and most readers want
the names of its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from treadle.sdk._wire import Fields, JsonValue, OpenEnum


class LineType(OpenEnum):
    """What a line of a diff is."""

    CONTEXT = "Context"
    ADDED = "Added"
    REMOVED = "Removed"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """`content` without its line end. `old_line` and `new_line` count from 1; None where the line is not on that side.
    `no_newline_at_end`: it is a file's last line and has no line end."""

    type: LineType
    content: str
    old_line: int | None
    new_line: int | None
    no_newline_at_end: bool

    @classmethod
    def read(cls, fields: Fields) -> "DiffLine":
        return cls(
            type=fields.choice("type", LineType),
            content=fields.text("content"),
            old_line=fields.optional_integer("oldLine"),
            new_line=fields.optional_integer("newLine"),
            no_newline_at_end=fields.flag("noNewlineAtEnd"),
        )


@dataclass(frozen=True)
class DiffChange:
    """A hunk. `header` is such as `@@ -1,5 +1,7 @@`."""

    header: str
    _raw: Fields = field(repr=False, compare=False)

    @cached_property
    def diff(self) -> tuple[DiffLine, ...]:
        """Its lines, in order."""
        return tuple(DiffLine.read(line) for line in self._raw.objects("diff"))

    @classmethod
    def read(cls, fields: Fields) -> "DiffChange":
        return cls(fields.optional_text("header") or "", fields)


@dataclass(frozen=True)
class DiffFile:
    """A changed file. `old_filename` is set where it was renamed or copied."""

    filename: str
    old_filename: str | None
    is_new: bool
    is_deleted: bool
    is_renamed: bool
    is_binary: bool
    _raw: Fields = field(repr=False, compare=False)

    @cached_property
    def changes(self) -> tuple[DiffChange, ...]:
        """Its hunks, in order; none for a binary file."""
        return tuple(DiffChange.read(change) for change in self._raw.objects("changes"))

    @property
    def additions(self) -> int:
        """How many lines were added."""
        return self._count(LineType.ADDED)

    @property
    def deletions(self) -> int:
        """How many lines were removed."""
        return self._count(LineType.REMOVED)

    def _count(self, kind: LineType) -> int:
        lines = (line for change in self._raw.objects("changes") for line in change.array("diff"))
        return sum(1 for line in lines if isinstance(line, Mapping) and line.get("type") == kind)

    @classmethod
    def read(cls, fields: Fields) -> "DiffFile":
        return cls(
            filename=fields.text("filename"),
            old_filename=fields.optional_text("oldFilename"),
            is_new=fields.flag("isNew"),
            is_deleted=fields.flag("isDeleted"),
            is_renamed=fields.flag("isRenamed"),
            is_binary=fields.flag("isBinary"),
            _raw=fields,
        )


@dataclass(frozen=True)
class CodeDiff:
    """What changed between the source branch and the work branch. `raw` is the JSON as it came."""

    raw: Mapping[str, JsonValue] = field(repr=False)

    @cached_property
    def files(self) -> tuple[DiffFile, ...]:
        """The changed files, in the order of their names."""
        return tuple(DiffFile.read(file) for file in Fields(self.raw, "diff").objects("files"))

    @classmethod
    def read(cls, fields: Fields) -> "CodeDiff":
        fields.array("files")
        return cls(fields.raw)
