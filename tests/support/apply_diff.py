"""Applies the JSON of a structured diff to a tree, believing nothing: each line it keeps or removes must be there.

Written from the contract, without the code that makes the diff: it is what a client would write.
"""

import json
from collections.abc import Mapping
from typing import TypedDict

#: Path -> mode ("100644", "100755", "120000", "160000") and content. None: binary, so that a diff cannot tell.
Tree = Mapping[bytes, tuple[str, bytes | None]]


class LineJson(TypedDict):
    type: str
    content: str
    oldLine: int | None
    newLine: int | None
    noNewlineAtEnd: bool


class ChangeJson(TypedDict):
    header: str
    diff: list[LineJson]


class FileJson(TypedDict):
    filename: str
    oldFilename: str | None
    isNew: bool
    isDeleted: bool
    isRenamed: bool
    isBinary: bool
    changes: list[ChangeJson]
    oldMode: str | None
    newMode: str | None
    additions: int
    deletions: int
    encoding: str
    filenameEncoding: str


def files_of(diff: bytes) -> list[FileJson]:
    files: list[FileJson] = json.loads(diff.decode("utf-8"))["files"]
    return files


def apply_diff(diff: bytes, source: Tree) -> dict[bytes, tuple[str, bytes | None]]:
    """The tree that the diff makes of `source`."""
    files = files_of(diff)
    result = dict(source)
    for file in files:
        if file["isDeleted"] or file["isRenamed"]:
            del result[_old_path(file)]
    for file in files:
        mode, content = _source(file, source)
        assert mode == file["oldMode"]
        if file["isDeleted"]:
            assert file["newMode"] is None
            assert file["isBinary"] or _changed(file, content) == b""
            continue
        path = file["filename"].encode(file["filenameEncoding"])
        assert file["newMode"] is not None
        assert path not in result or not (file["isNew"] or file["isRenamed"])
        result[path] = (file["newMode"], None if file["isBinary"] else _changed(file, content))
    return result


def _old_path(file: FileJson) -> bytes:
    name = file["filename"] if file["oldFilename"] is None else file["oldFilename"]
    return name.encode(file["filenameEncoding"])


def _source(file: FileJson, source: Tree) -> tuple[str | None, bytes | None]:
    if file["isNew"] and file["oldFilename"] is None:
        return None, b""
    return source[_old_path(file)]


def _changed(file: FileJson, source: bytes | None) -> bytes:
    assert source is not None, "a text diff of a binary file"
    old = source.split(b"\n")
    old = [line + b"\n" for line in old[:-1]] + [line for line in old[-1:] if line]
    new: list[bytes] = []
    at = counts = 0
    for change in file["changes"]:
        for line in change["diff"]:
            text = line["content"].encode(file["encoding"]) + (b"" if line["noNewlineAtEnd"] else b"\n")
            counts += {"Added": 1, "Removed": 1 << 32, "Context": 0}[line["type"]]
            untouched = _untouched(line, at, len(new))
            new += old[at : at + untouched]
            at += untouched
            if line["type"] == "Added":
                assert line["oldLine"] is None
            else:
                assert line["oldLine"] == at + 1
                assert old[at] == text
                at += 1
            if line["type"] == "Removed":
                assert line["newLine"] is None
            else:
                new.append(text)
                assert line["newLine"] == len(new)
    assert counts == file["additions"] + (file["deletions"] << 32)
    return b"".join(new + old[at:])


def _untouched(line: LineJson, at: int, written: int) -> int:
    """How many lines between the last one dealt with and this one are as they were."""
    if line["oldLine"] is not None:
        return line["oldLine"] - 1 - at
    assert line["newLine"] is not None
    return line["newLine"] - 1 - written
