"""Real output of `git diff` with something wrong in it: refused with one kind of error, or JSON of a diff; the same,
however it arrives."""

import json
from pathlib import Path

import pytest
from tests.support.fuzzing import fuzz
from tests.support.git_trees import Files, TreeRepository
from tests.support.mutations import TOKENS, Mutator

from treadle.domain.diff import DiffEncoder, from_json
from treadle.domain.raw_diff import MalformedDiffError, read_numstat

TREES: tuple[tuple[Files, Files], ...] = (
    (
        {b"a.py": ("100644", b"one\ntwo\nthree\n"), b"b c": ("100644", b"x" * 50), b"gone": ("100644", b"bye\n")},
        {b"a.py": ("100755", b"one\n2\nthree"), b"moved b": ("100644", b"x" * 50), b"new\n\xff": ("100644", b"\0bin")},
    ),
    (
        {
            b"link": ("120000", b"a"),
            b"same": ("100644", b"s\n"),
            b"many": ("100644", b"".join(b"%d\n" % n for n in range(90))),
        },
        {
            b"link": ("100644", b"a\n"),
            b"same": ("100755", b"s\n"),
            b"many": ("100644", b"".join(b"%d\n" % (n * n) for n in range(90))),
        },
    ),
)
DIFF_TOKENS = (
    *TOKENS,
    *(
        b"\ndiff --git a/x b/x\n",
        b"\n@@ -1 +1 @@\n",
        b"@@ -0,0 +1,99999 @@",
        b"\n\\ No newline at end of file\n",
        b"\n--- a/x\n",
    ),
    *(
        b"\n+++ b/x\n",
        b"\nBinary files a/x and b/x differ\n",
        b":100644 100644 ",
        b"\nrename from x\n",
        b"\n+",
        b"\n-",
        b"\n ",
    ),
)


@pytest.fixture(scope="module")
def diffs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes]]:
    """Each with what numstat says of the files that it asks for."""
    found = []
    for number, (old, new) in enumerate(TREES):
        repository = TreeRepository(Path(tmp_path_factory.mktemp("diffs") / str(number)))
        repository.hold(old, new)
        output = repository.diff()
        encoder = DiffEncoder()
        encoder.feed(output)
        found.append((output, repository.numstat(encoder.unsettled)))
    return found


def encoded(mutator: Mutator | None, output: bytes, numstat: bytes, block: int = 1 << 16) -> bytes | None:
    """None: refused."""
    encoder = DiffEncoder(block_bytes=block)
    written = bytearray()
    try:
        for chunk in mutator.chunks(output) if mutator else [output]:
            written += encoder.feed(chunk)
            if encoder.unsettled:
                encoder.settle(numstat)
        written += encoder.close()
    except MalformedDiffError as error:
        error.sentence().encode()
        return None
    return bytes(written)


def test_output_of_git(diffs: list[tuple[bytes, bytes]]) -> None:
    def check(mutator: Mutator) -> None:
        output, numstat = mutator.random.choice(diffs)
        if mutator.random.random() < 0.1:
            numstat = mutator.data(numstat or b"1\t1\tx\0")
        changed = mutator.data(output, *(other for other, _ in diffs), tokens=DIFF_TOKENS)
        whole = encoded(None, changed, numstat)
        pieces = encoded(mutator, changed, numstat, mutator.random.choice((1, 50, 1 << 16)))
        assert (whole is None) == (pieces is None)
        if whole is not None and pieces is not None:
            assert from_json(whole) == from_json(pieces)

    fuzz(1_500, check)


def test_numbers_of_lines(diffs: list[tuple[bytes, bytes]]) -> None:
    def check(mutator: Mutator) -> None:
        try:
            read_numstat(mutator.data(b"1\t2\ta b\0-\t-\tc\n\xff\0" + diffs[0][1]))
        except MalformedDiffError as error:
            error.sentence().encode()

    fuzz(1_000, check)


def test_json_of_a_diff(diffs: list[tuple[bytes, bytes]]) -> None:
    """As it is read back from the blobs."""
    valid = encoded(None, *diffs[0])
    assert valid is not None
    value = json.loads(valid)

    def check(mutator: Mutator) -> None:
        try:
            from_json(mutator.json(value))
        except MalformedDiffError as error:
            error.sentence().encode()

    fuzz(500, check)


@pytest.mark.parametrize("lines", [b"\n\r\n\r", b"\n\r", b"\n\\ No newline at end of file" * 2, b"\n\\r"])
def test_what_is_no_mark(diffs: list[tuple[bytes, bytes]], lines: bytes) -> None:
    output, numstat = diffs[1]
    assert encoded(None, output.replace(b"\n+2916\n", b"\n+2916" + lines + b"\n"), numstat) is None


def test_the_number_of_a_hunk_that_no_file_has(diffs: list[tuple[bytes, bytes]]) -> None:
    output, numstat = diffs[0]
    assert encoded(None, output.replace(b"@@ -1,", b"@@ -" + b"1" * 5_000 + b","), numstat) is None
