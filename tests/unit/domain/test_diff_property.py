"""For any pair of trees the diff makes the new one of the old one, byte for byte."""

import json
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.support.apply_diff import FileJson, Tree, apply_diff, files_of
from tests.support.git_trees import Files, TreeRepository, cut

from treadle.domain.diff import DiffEncoder, DiffFile, from_json, parse

REGULAR, EXECUTABLE, SYMLINK = "100644", "100755", "120000"

NASTY_LINES = [
    *(b"", b" ", b"\t", b"a", b"b", b"a\r", b"\r", b"a\rb", b"\x0b\x0c\x1b[0m", b"\x7f"),
    *(b"--- a/x", b"+++ b/x", b"-- a/x", b"++ b/x", b"@@ -1 +1 @@", b"@@ -1,9 +1,9 @@ @@", b"@@", b"-", b"+"),
    *(b"diff --git a/x b/x", b"index 0000000..1111111 100644", b"Binary files a/x and b/x differ"),
    *(b"\\ No newline at end of file", b"\\", b'"', b'\\"\\u0000\\n', b"rename from x", b"%s %d {} {x}"),
    *("größe".encode(), "語\u2028".encode(), "\U0001f9f5".encode(), b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80", b"\xc3"),
    *(b"Subproject commit 1111111111111111111111111111111111111111", b"def " + 50 * "ñ".encode()),
    # Longer than the smallest block.
    *(b"long " * 50, b"\xe9" * 150, "語".encode() * 70, b"x" * 100 + b"\xff", b'","oldLine":' * 20, b'\\"' * 90),
]
NASTY_NAMES = [
    *(b"a", b"b", b"c", b" ", b" b", b"a b/c", b'"', b'q"uote', b"tab\tname", b"new\nline", b"\\", b"back\\slash"),
    *(b"-", b"--cached", b":(glob)*", b"*", b"--- a", b"+++ b", b"@@ -1 +1 @@", b"diff --git a", b"=>", b"{a => b}"),
    *("größe".encode(), b"caf\xe9", b"\xff", b"\x01\x7f", "\U0001f9f5".encode(), b"\\303\\274", b"\xed\xa0\x80"),
]

CHANGES = ["keep", "edit", "edit", "delete", "rename", "move", "move", "copies", "mode", "type"]

nasty_line = st.sampled_from(NASTY_LINES)
any_line = nasty_line | st.binary(max_size=5).map(lambda line: line.translate(None, b"\n\0"))
few_lines = st.lists(any_line, max_size=6)
# Enough of them for hunks apart from each other and for files alike enough to be renames.
many_lines = st.builds(
    lambda count, stem, lines: [b"%b %d" % (stem, n) for n in range(count)] + lines,
    st.integers(12, 40),
    st.sampled_from([b"line", b"other", *NASTY_LINES]),
    few_lines,
)
content = st.builds(
    lambda lines, end: b"\n".join(lines) + (b"\n" if end and lines else b""), few_lines | many_lines, st.booleans()
)
binary = st.builds(lambda start, end: start + b"\0" + end, content, st.binary(max_size=4))
blob = st.one_of(content, content, content, content, binary, st.just(b""))
name = st.sampled_from(NASTY_NAMES) | st.binary(max_size=4).map(lambda part: b"x" + part.translate(None, b"\0/"))
path = st.lists(name, min_size=1, max_size=3).map(b"/".join)


@st.composite
def entries(draw: st.DrawFn) -> tuple[str, bytes]:
    if draw(st.integers(0, 5)) == 0:
        return SYMLINK, draw(any_line | binary) or b"x"
    return draw(st.sampled_from([REGULAR, REGULAR, EXECUTABLE])), draw(blob)


@st.composite
def edited(draw: st.DrawFn, whole: bytes) -> bytes:
    lines = whole.split(b"\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 2))] = draw(st.lists(any_line, max_size=2))
    return b"\n".join(lines)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Files, Files]:
    """An old tree, and a new one that came of it by edits, renames, copies, deletions and changes of mode and type."""
    old = without_clashes(draw(st.dictionaries(path, entries(), max_size=5)))
    new = without_clashes(draw(st.dictionaries(path, entries(), max_size=2)))
    for name, (mode, text) in old.items():
        match draw(st.sampled_from(CHANGES)):
            case "keep":
                new[name] = (mode, text)
            case "edit":
                new[name] = (mode, draw(edited(text)))
            case "rename":
                new[draw(path)] = (mode, text)
            case "move":
                new[draw(path)] = (mode, draw(edited(text)))
            case "copies":
                new[name] = (mode, draw(st.just(text) | edited(text)))
                for _ in range(2):
                    new[draw(path)] = (mode, text)
                new[draw(path)] = (mode, draw(edited(text)))
            case "mode":
                new[name] = (EXECUTABLE if mode == REGULAR else REGULAR, draw(st.just(text) | edited(text)))
            case "type":
                new[name] = (REGULAR if mode == SYMLINK else SYMLINK, text or b"x")
    return old, without_clashes(new)


def without_clashes(files: Files) -> dict[bytes, tuple[str, bytes]]:
    """Without the paths that would have to be a file and a directory."""
    kept: dict[bytes, tuple[str, bytes]] = {}
    for name, (mode, text) in files.items():
        if not any((name + b"/").startswith(other + b"/") or (other + b"/").startswith(name + b"/") for other in kept):
            kept[name] = (mode, text or b"x") if mode == SYMLINK else (mode, text)
    return kept


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> TreeRepository:
    return TreeRepository(tmp_path_factory.mktemp("trees") / "git")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(trees=pairs(), copies=st.booleans(), sizes=st.lists(st.integers(0, 300), max_size=30), block=st.integers(1, 400))
def test_the_diff_applied_to_the_source_gives_the_work_tree(
    repository: TreeRepository, trees: tuple[Files, Files], copies: bool, sizes: list[int], block: int
) -> None:
    old, new = trees
    repository.hold(old, new)
    output = repository.diff("--find-copies-harder") if copies else repository.diff()
    whole = DiffEncoder()
    encoded = whole.feed(output)
    numstat = repository.numstat(whole.unsettled)
    whole.settle(numstat)
    encoded += whole.close()

    files = files_of(encoded)
    assert_same_trees(apply_diff(encoded, old), new, files)
    assert_binary_is_what_git_calls_binary(files, old, new)
    assert (whole.files, whole.additions, whole.deletions) == (
        len(files),
        sum(file["additions"] for file in files),
        sum(file["deletions"] for file in files),
    )

    objects = parse(output, numstat)
    assert [in_camel_case(file) for file in objects.files] == files
    assert from_json(encoded) == objects

    parts = DiffEncoder(block_bytes=block)
    joined = b""
    for chunk in cut(output, sizes):
        joined += parts.feed(chunk)
        if parts.unsettled:
            parts.settle(numstat)
    assert joined + parts.close() == encoded
    for file in files:
        event(kind(file))


def assert_same_trees(applied: Tree, new: Files, files: list[FileJson]) -> None:
    binary = {
        file["filename"].encode(file["filenameEncoding"]) for file in files if file["isBinary"] and file["newMode"]
    }
    assert applied == {name: (mode, None if name in binary else text) for name, (mode, text) in new.items()}


def assert_binary_is_what_git_calls_binary(files: list[FileJson], old: Files, new: Files) -> None:
    for file in files:
        name = file["filename"].encode(file["filenameEncoding"])
        before = name if file["oldFilename"] is None else file["oldFilename"].encode(file["filenameEncoding"])
        sides = ([] if file["oldMode"] is None else [old[before][1]]) + (
            [] if file["newMode"] is None else [new[name][1]]
        )
        # A symlink that moved as it was is never asked about: its target is text by nature.
        if file["newMode"] != SYMLINK or file["changes"]:
            assert file["isBinary"] == any(b"\0" in side[:8000] for side in sides)


def in_camel_case(file: DiffFile) -> FileJson:
    plain = asdict(file)
    changes = [
        {
            "header": change["header"],
            "diff": [
                {
                    "type": str(line["kind"]),
                    "content": line["content"],
                    "oldLine": line["old_line"],
                    "newLine": line["new_line"],
                    "noNewlineAtEnd": line["no_newline_at_end"],
                }
                for line in change["lines"]
            ],
        }
        for change in plain.pop("changes")
    ]
    words = {key: key.split("_") for key in plain}
    camel = {first + "".join(map(str.title, rest)): plain["_".join([first, *rest])] for first, *rest in words.values()}
    result: FileJson = json.loads(json.dumps(camel | {"changes": changes}))
    return result


def kind(file: FileJson) -> str:
    flags = [flag for flag, is_so in file.items() if flag.startswith("is") and is_so]
    if file["isNew"] and file["oldFilename"] is not None:
        flags.append("isCopied")
    return " ".join([*sorted(flags), file["encoding"], "with changes" if file["changes"] else "without changes"])
