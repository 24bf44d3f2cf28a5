import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.apply_diff import FileJson, LineJson, apply_diff, files_of
from tests.support.git_trees import Files, TreeRepository

from treadle.domain.diff import (
    DIFF_ARGUMENTS,
    CodeDiff,
    DiffChange,
    DiffEncoder,
    DiffFile,
    DiffLine,
    LineKind,
    MalformedDiffError,
    from_json,
    parse,
    path_batches,
)

REGULAR, EXECUTABLE, SYMLINK, SUBMODULE = "100644", "100755", "120000", "160000"


@pytest.fixture
def repository(tmp_path: Path) -> TreeRepository:
    return TreeRepository(tmp_path / "git")


def diff_of(repository: TreeRepository, old: Files, new: Files, *overrides: str) -> list[FileJson]:
    repository.hold(old, new)
    return files_of(repository.encode(*overrides))


def lines_of(file: FileJson) -> list[LineJson]:
    return [line for change in file["changes"] for line in change["diff"]]


def text_of(file: FileJson) -> list[tuple[str, str]]:
    return [(line["type"], line["content"]) for line in lines_of(file)]


def flags_of(file: FileJson) -> set[str]:
    return {flag for flag, is_so in file.items() if flag.startswith("is") and is_so}


def test_the_json_is_that_of_the_contract(repository: TreeRepository) -> None:
    repository.hold({b"a.txt": (REGULAR, b'one\n"two"\\\t\r\nthree')}, {b"a.txt": (REGULAR, b"one\nthree\x0c\nfour")})

    assert json.loads(repository.encode()) == {
        "files": [
            {
                "filename": "a.txt",
                "oldFilename": None,
                "filenameEncoding": "utf-8",
                "isNew": False,
                "isDeleted": False,
                "isRenamed": False,
                "oldMode": "100644",
                "newMode": "100644",
                "isBinary": False,
                "changes": [
                    {
                        "header": "@@ -1,3 +1,3 @@",
                        "diff": [
                            line("Context", "one", 1, 1),
                            line("Removed", '"two"\\\t\r', 2, None),
                            line("Removed", "three", 3, None, no_newline_at_end=True),
                            line("Added", "three\x0c", None, 2),
                            line("Added", "four", None, 3, no_newline_at_end=True),
                        ],
                    }
                ],
                "additions": 2,
                "deletions": 2,
                "encoding": "utf-8",
            }
        ]
    }


def line(
    kind: str, content: str, old_line: int | None, new_line: int | None, *, no_newline_at_end: bool = False
) -> dict[str, object]:
    return {
        "type": kind,
        "content": content,
        "oldLine": old_line,
        "newLine": new_line,
        "noNewlineAtEnd": no_newline_at_end,
    }


def test_objects_say_what_the_json_says(repository: TreeRepository) -> None:
    repository.hold({}, {b"new": (EXECUTABLE, b"a\nb")})

    assert parse(repository.diff()) == CodeDiff(
        (
            DiffFile(
                filename="new",
                old_filename=None,
                is_new=True,
                is_deleted=False,
                is_renamed=False,
                is_binary=False,
                changes=(
                    DiffChange(
                        "@@ -0,0 +1,2 @@",
                        (
                            DiffLine(LineKind.ADDED, "a", None, 1, no_newline_at_end=False),
                            DiffLine(LineKind.ADDED, "b", None, 2, no_newline_at_end=True),
                        ),
                    ),
                ),
                old_mode=None,
                new_mode="100755",
                additions=2,
                deletions=0,
                encoding="utf-8",
                filename_encoding="utf-8",
            ),
        )
    )


def test_equal_trees_have_an_empty_diff(repository: TreeRepository) -> None:
    tree: Files = {b"a": (REGULAR, b"a\n")}

    assert diff_of(repository, tree, tree) == []
    assert parse(b"") == CodeDiff(())


def test_content_that_looks_like_headers_stays_content(repository: TreeRepository) -> None:
    lookalikes = [b"-- a/x", b"++ b/x", b"@@ -1 +1 @@", b"diff --git a/x b/x", b"\\ No newline at end of file", b""]
    [file] = diff_of(repository, {b"a": (REGULAR, b"\n".join(lookalikes))}, {b"a": (REGULAR, b"x")})

    # The last one is empty: the line before it ends in a line feed.
    assert text_of(file) == [*(("Removed", text.decode()) for text in lookalikes[:-1]), ("Added", "x")]


def test_a_change_of_type_is_a_deletion_and_a_creation(repository: TreeRepository) -> None:
    gone, come = diff_of(repository, {b"a": (REGULAR, b"b")}, {b"a": (SYMLINK, b"b")})

    assert (flags_of(gone), gone["oldMode"], gone["newMode"]) == ({"isDeleted"}, REGULAR, None)
    assert (flags_of(come), come["oldMode"], come["newMode"]) == ({"isNew"}, None, SYMLINK)
    assert text_of(come) == [("Added", "b")]


def test_only_what_the_patch_cannot_tell_is_asked_for(repository: TreeRepository) -> None:
    old: Files = {
        **{b"mode%d" % n: (REGULAR, b"text\n") for n in range(2)},
        **{b"binary%d" % n: (REGULAR, b"\0%d" % n) for n in range(3)},
        b"link": (SYMLINK, b"there"),
        b"text": (REGULAR, b"1\n"),
    }
    new: Files = {
        b"mode0": (EXECUTABLE, b"text\n"),
        b"mode1": (EXECUTABLE, b"text\nmore\n"),
        b"binary0": (REGULAR, b"\0changed"),
        b"moved": old[b"binary1"],
        b"binary2": (EXECUTABLE, b"\x002"),
        b"here": (SYMLINK, b"there"),
        b"text": (REGULAR, b"2\n"),
    }
    repository.hold(old, new)
    encoder = DiffEncoder()
    encoder.feed(repository.diff())
    assert set(encoder.unsettled) == {b"mode0", b"moved", b"binary2"}

    files = {file["filename"]: flags_of(file) for file in files_of(repository.encode())}
    assert files == {
        "binary0": {"isBinary"},
        "binary2": {"isBinary"},
        "here": {"isRenamed"},
        "mode0": set(),
        "mode1": set(),
        "moved": {"isBinary", "isRenamed"},
        "text": set(),
    }


def test_a_diff_that_was_not_settled_is_refused(repository: TreeRepository) -> None:
    repository.hold({b"a": (REGULAR, b"a\n")}, {b"b": (REGULAR, b"a\n")})

    with pytest.raises(MalformedDiffError, match="b'b' is binary was not settled"):
        parse(repository.diff())


def test_attributes_decide_what_is_binary(repository: TreeRepository) -> None:
    attributes = b"shown diff\nhidden -diff\n"
    (repository.path / "info").mkdir(exist_ok=True)
    (repository.path / "info" / "attributes").write_bytes(attributes)
    shown, hidden = sorted(
        diff_of(repository, {}, {b"hidden": (REGULAR, b"text\n"), b"shown": (REGULAR, b"\0\x01\x1f\n")}),
        key=lambda file: file["isBinary"],
    )

    assert (shown["filename"], text_of(shown)) == ("shown", [("Added", "\0\x01\x1f")])
    assert (hidden["filename"], text_of(hidden)) == ("hidden", [])


def test_copies_name_what_they_are_copies_of(repository: TreeRepository) -> None:
    text = b"".join(b"%d\n" % n for n in range(50))
    old: Files = {b"a": (REGULAR, text)}
    new: Files = {b"a": (REGULAR, text), b"b": (REGULAR, text + b"more\n")}
    repository.hold(old, new)
    encoded = repository.encode("--find-copies-harder")
    [file] = files_of(encoded)

    assert (file["filename"], file["oldFilename"], flags_of(file)) == ("b", "a", {"isNew"})
    assert apply_diff(encoded, old) == new


def test_a_submodule_that_moved_is_shown(repository: TreeRepository) -> None:
    def submodule(digit: str) -> tuple[str, bytes]:
        return SUBMODULE, f"Subproject commit {digit * 40}\n".encode()

    old = {b"a": submodule("1"), b"b": submodule("1"), b"c": submodule("1")}
    new = {b"a": submodule("2"), b"c": (REGULAR, b"a file\n"), b"d": submodule("2")}
    repository.hold(old, new)

    shown = repository.encode()
    assert apply_diff(shown, old) == new
    assert text_of(files_of(shown)[0]) == [
        ("Removed", "Subproject commit " + "1" * 40),
        ("Added", "Subproject commit " + "2" * 40),
    ]


def test_repositories_with_long_ids(tmp_path: Path) -> None:
    repository = TreeRepository(tmp_path / "git", object_format="sha256")
    old: Files = {b"a": (REGULAR, b"a\n"), b"empty": (REGULAR, b"")}
    new: Files = {b"a": (REGULAR, b"b\n"), b"void": (REGULAR, b""), b"void2": (REGULAR, b"")}
    repository.hold(old, new)

    assert apply_diff(repository.encode(), old) == new


def test_no_configuration_changes_the_diff(repository: TreeRepository, tmp_path: Path) -> None:
    text = b"".join(b"%d\n\n" % n for n in range(30))
    old: Files = {b"a": (REGULAR, text), b"\xe9": (REGULAR, b"1\n")}
    new: Files = {
        b"c": (REGULAR, text.replace(b"15", b"fifteen").replace(b"20", b"twenty")),
        b"\xe9": (REGULAR, b"2\n"),
    }
    repository.hold(old, new)
    before = repository.diff()

    order = tmp_path / "order"
    order.write_bytes(b"\xe9\nc\n")
    for name, value in {
        "color.ui": "always",
        "core.attributesFile": "/dev/null",
        "core.quotePath": "false",
        "diff.algorithm": "patience",
        "diff.colorMoved": "zebra",
        "diff.context": "0",
        "diff.external": "false",
        "diff.ignoreSubmodules": "none",
        "diff.indentHeuristic": "false",
        "diff.interHunkContext": "20",
        "diff.mnemonicPrefix": "true",
        "diff.noprefix": "true",
        "diff.orderFile": str(order),
        "diff.relative": "true",
        "diff.renameLimit": "1",
        "diff.renames": "false",
        "diff.submodule": "log",
        "diff.suppressBlankEmpty": "true",
    }.items():
        repository.git("config", name, value)
    assert repository.git("diff", "--no-ext-diff", "old", "new") != before  # the settings do something
    assert repository.diff() == before


def test_a_file_that_is_not_utf8_is_latin_1_from_its_first_line(repository: TreeRepository) -> None:
    lines = b"".join(b"plain %d\n" % n for n in range(500)) + "ümlaut\n".encode() * 500 + b"caf\xe9\n"
    old: Files = {}
    new: Files = {b"a": (REGULAR, lines), b"b": (REGULAR, "ümlaut\n".encode())}
    repository.hold(old, new)
    encoded = repository.encode(chunks=[100] * 200)
    first, second = files_of(encoded)

    assert (first["encoding"], text_of(first)[-1][1]) == ("latin-1", "café")
    assert (second["encoding"], text_of(second)) == ("utf-8", [("Added", "ümlaut")])
    assert apply_diff(encoded, old) == new


@pytest.mark.parametrize(
    ("heading", "shown", "encoding"),
    [
        (b"def " + "é".encode() * 60, "def " + "é" * 38, "utf-8"),
        (b"de " + "é".encode() * 60, "de " + "é" * 38, "utf-8"),  # byte 80 is the first half of one
        (b"def caf\xe9", "def caf", "utf-8"),
        (b'say "\xc3\xa9"', 'say "é"', "utf-8"),
    ],
)
def test_hunk_headings_are_utf8_because_git_cuts_them_so(
    repository: TreeRepository, heading: bytes, shown: str, encoding: str
) -> None:
    lines = [heading, *(b"%d" % n for n in range(20))]
    [file] = diff_of(
        repository, {b"a": (REGULAR, b"\n".join(lines))}, {b"a": (REGULAR, b"\n".join([*lines[:-1], b"end"]))}
    )

    assert file["changes"][0]["header"].partition(" @@ ")[2] == shown
    assert file["encoding"] == encoding


def test_names_that_are_not_utf8(repository: TreeRepository) -> None:
    text = b"".join(b"%d\n" % n for n in range(9))
    [file] = diff_of(repository, {b"caf\xe9": (REGULAR, text)}, {"café".encode(): (REGULAR, text)})

    assert file["filenameEncoding"] == "latin-1"
    assert file["oldFilename"] == "café"
    assert file["filename"].encode("latin-1").decode() == "café"


def test_every_chunking_gives_the_same(repository: TreeRepository) -> None:
    old: Files = {
        b"a": (REGULAR, b"1\n2\n3"),
        b"mode": (REGULAR, b"x"),
        b"u": (REGULAR, "é".encode()),
        b"z": (REGULAR, b"\xff\n"),
    }
    new: Files = {
        b"a": (REGULAR, b"1\n4\n5\n"),
        b"mode": (EXECUTABLE, b"x"),
        b"u": (REGULAR, "ü\n".encode()),
        b"zz": (REGULAR, b"\xfe\n"),
    }
    repository.hold(old, new)
    output, whole = repository.diff(), repository.encode()
    assert apply_diff(whole, old) == new

    assert repository.encode(chunks=[1] * len(output)) == whole
    numstat = repository.numstat([b"mode"])
    for at in range(len(output)):
        encoder = DiffEncoder(block_bytes=1 + at)
        encoded = encoder.feed(output[:at])
        encoder.settle(numstat)
        encoded += encoder.feed(output[at:])
        encoder.settle(numstat)
        assert encoded + encoder.close() == whole


def test_totals_and_where_the_patch_begins(repository: TreeRepository) -> None:
    repository.hold({b"a": (REGULAR, b"1\n2\n")}, {b"a": (REGULAR, b"1\n3\n4\n"), b"b": (REGULAR, b"5\n")})
    output = repository.diff()
    encoder = DiffEncoder()
    encoder.feed(output)
    encoder.close()

    assert (encoder.files, encoder.additions, encoder.deletions) == (2, 3, 1)
    assert output[encoder.patch_offset :].startswith(b"diff --git a/a b/a\n")
    assert parse(output).additions == 3
    assert parse(output).deletions == 1


LINE = b"a line as long as lines of code may be\n"


def large_patch(text: bytes, times: int) -> Iterator[bytes]:
    """A new file that is the text so many times."""
    patch = b"diff --git a/large b/large\nnew file mode 100644\nindex %040d..%040d\n--- /dev/null\n+++ b/large\n"
    yield b":000000 100644 %040d %040d A\0large\0\0" % (0, 1)
    yield patch % (0, 1)
    lines = text.count(b"\n") * times or 1
    heading = b"" if text.isascii() else "ñ".encode()
    yield b"@@ -0,0 +1,%d @@ %b\n" % (lines, heading)
    if lines == 1:
        yield b"+"
    for _ in range(times):
        yield text
    if lines == 1:
        yield b"\n\\ No newline at end of file\n"


@pytest.mark.parametrize(
    ("text", "times", "most"),
    [
        pytest.param(b"+" + (LINE + b"+") * 999 + LINE, 400, 4_000_000, id="lines"),
        pytest.param(LINE.strip() * 1000, 400, 4_000_000, id="one line"),
        # Waits for its end, as it is.
        pytest.param("größe".encode() * 6000, 400, 24_000_000, id="one line that is not ascii"),
    ],
)
def test_the_patch_is_not_held(text: bytes, times: int, most: int) -> None:
    encoder = DiffEncoder()
    written = 0
    tracemalloc.start()
    try:
        for chunk in large_patch(text, times):
            written += sum(map(len, encoder.feed_pieces(chunk)))
        written += sum(map(len, encoder.close_pieces()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert encoder.additions == (text.count(b"\n") * times or 1)
    assert written > len(text) * times
    assert peak < most


def test_a_line_in_many_chunks_is_whole() -> None:
    encoder = DiffEncoder()
    encoded = b"".join(map(encoder.feed, large_patch(b'"a\\', 100_000))) + encoder.close()

    [file] = files_of(encoded)
    assert text_of(file) == [("Added", '"a\\' * 100_000)]
    assert file["changes"][0]["diff"][0]["noNewlineAtEnd"]


@pytest.mark.parametrize("kind", [b"x", "é".encode(), b"\xe9"])
def test_lines_of_any_length_by_blocks_of_one_size(kind: bytes) -> None:
    """Wherever a block ends: in a line, before a mark, in what follows a mark."""
    for length in range(150):
        text, heading = (b"x" * length + kind, b"h" * (length % 80))
        hunk = b"@@ -%d,2 +%d,2 @@ " + heading + b"\n-" + text + b"\n \n+" + text + b"\n"
        marked = b"@@ -9 +9 @@\n-" + text + b"\n\\ No newline at end of file\n+" + text + b"?\n"
        stream = RAW + HEADER + hunk % (1, 1) + hunk % (5, 5) + marked + b"\\ No newline at end of file\n"
        encoder = DiffEncoder(block_bytes=1)
        encoded = encoder.feed(stream) + encoder.close()

        whole = DiffEncoder()
        assert encoded == whole.feed(stream) + whole.close()
        [file] = files_of(encoded)
        assert [(line["noNewlineAtEnd"], len(line["content"].encode(file["encoding"]))) for line in lines_of(file)] == [
            *[(False, length + len(kind)), (False, 0), (False, length + len(kind))] * 2,
            *[(True, length + len(kind)), (True, length + len(kind) + 1)],
        ]


ONE, TWO = b"1" * 40, b"2" * 40
RAW = b":100644 100644 %b %b M\0a\0\0" % (ONE, TWO)
HEADER = b"diff --git a/a b/a\nindex %b..%b 100644\n--- a/a\n+++ b/a\n" % (ONE, TWO)
GOOD = RAW + HEADER + b"@@ -1 +1 @@\n-a\n+b\n"


def test_the_stream_that_the_malformed_ones_are_made_of_is_good() -> None:
    assert parse(GOOD).additions == 1


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (b"fatal: bad revision\n", "ends before its patch"),
        (b"fatal: bad revision\0", "entry that is none"),
        (RAW.replace(b" M\0", b" U\0"), "entry that is none"),
        (RAW.replace(TWO, b"0" * 40), "work tree"),
        (RAW[:-1], "ends before its patch"),
        (RAW, "ends before the file b'a'"),
        (b"\0", None),
        (RAW + b"garbage\n", "begins with no file"),
        (GOOD + HEADER, "more files than its raw part"),
        (GOOD[:-1], "middle of a line"),
        (GOOD[:-3], "more or fewer lines"),
        (GOOD + b" c\n", "more or fewer lines"),
        (GOOD.replace(b"+1 @@", b"+1,2 @@"), "more or fewer lines"),
        (GOOD.replace(b"-1 +1", b"-1 +x"), "hunk header"),
        (GOOD.replace(b"+b\n", b"\n"), "an empty line"),
        (GOOD.replace(b"-a\n", b"\\ No newline at end of file\n-a\n"), "mark without its line"),
        (GOOD.replace(b"+b\n", b"*b\n"), "a line that git does not write"),
        (GOOD.replace(b".." + TWO, b".." + ONE), "not the one that the raw part names"),
        (GOOD.replace(b"--- a/a\n", b"GIT binary patch\n"), "header line"),
        (RAW + HEADER, "ends before its changes"),
        (RAW + b"diff --git a/a b/a\n", "not the one that the raw part names"),
        (GOOD.replace(b"-1 +1", b"-0,0 +1,2").replace(b"-a\n", b"x\n"), "a line that git does not write"),
        (GOOD.replace(b"-1 +1", b"-1,2 +0,0").replace(b"+b\n", b"x\n"), "a line that git does not write"),
    ],
)
def test_malformed_streams_are_refused(stream: bytes, says: str | None) -> None:
    if says is None:
        assert parse(stream) == CodeDiff(())
        return
    with pytest.raises(MalformedDiffError, match=says):
        parse(stream)
    with pytest.raises(MalformedDiffError, match=says):
        feed_bytewise(stream)


def feed_bytewise(stream: bytes) -> None:
    encoder = DiffEncoder()
    for at in range(len(stream)):
        encoder.feed(stream[at : at + 1])
    encoder.close()


@pytest.mark.parametrize("numstat", [b"1\t2\0", b"1\t2\ta", b"\0"])
def test_malformed_numstats_are_refused(numstat: bytes) -> None:
    with pytest.raises(MalformedDiffError, match="numstat"):
        DiffEncoder().settle(numstat)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"files":[{}]}', b'{"files":[1]}', b'{"files":null}', b"\xff", b'{"files":"a"}']
)
def test_json_of_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedDiffError, match="not the JSON of a diff"):
        from_json(data)


def test_paths_are_batched_for_the_command_line() -> None:
    paths = [b"%d\xff" % n for n in range(1200)]
    batches = list(path_batches(paths))

    assert [len(batch) for batch in batches] == [500, 500, 200]
    assert [path.encode("utf-8", "surrogateescape") for batch in batches for path in batch] == paths
    assert [len(batch) for batch in path_batches([b"x" * 40_000] * 3)] == [1, 1, 1]
    assert list(path_batches([])) == []


def test_the_arguments_keep_the_repositorys_programs_out() -> None:
    assert {"--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty"} <= set(DIFF_ARGUMENTS)
