"""What the diff's page is made of: every line once, whatever is in it."""

import json
import re
import string
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.diff import LineKind, from_json
from treadle.domain.raw_diff import MalformedDiffError
from treadle.web.pages.diff.diff_view import STRETCH_LINES
from treadle.web.pages.diff.folding import why_folded
from treadle.web.pages.diff.highlighting import MAX_HIGHLIGHTED, highlight
from treadle.web.pages.diff.index import FileEntry, Kind, index
from treadle.web.pages.diff.lines import Line, line_number_of, outline, stretch, whole_lines
from treadle.web.pages.diff.markup import code, revealed
from treadle.web.pages.diff.rows import Coloured, Layout, blocks, html
from treadle.web.pages.diff.tree import MAX_DEPTH, MAX_LISTED, Folder, grow
from treadle.web.pages.diff.word_diff import changed_words
from treadle.web.text import MAX_SHOWN_LINE

texts = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=60)


def diff_of(*files: tuple[str, list[tuple[str, str]]]) -> bytes:
    """The JSON of a diff as the encoder writes it, from (path, [(mark, content)]): one hunk a file."""
    made = []
    for path, lines in files:
        old = new = 1
        rows = []
        for mark, content in lines:
            rows.append(
                {
                    "type": {" ": "Context", "+": "Added", "-": "Removed"}[mark],
                    "content": content,
                    "oldLine": old if mark != "+" else None,
                    "newLine": new if mark != "-" else None,
                    "noNewlineAtEnd": False,
                }
            )
            old, new = old + (mark != "+"), new + (mark != "-")
        made.append(
            {
                "filename": path,
                "oldFilename": None,
                "filenameEncoding": "utf-8",
                "isNew": False,
                "isDeleted": False,
                "isRenamed": False,
                "oldMode": "100644",
                "newMode": "100644",
                "isBinary": False,
                "changes": [{"header": f"@@ -1,{old - 1} +1,{new - 1} @@ def f():", "diff": rows}] if rows else [],
                "additions": sum(mark == "+" for mark, _ in lines),
                "deletions": sum(mark == "-" for mark, _ in lines),
                "encoding": "utf-8",
            }
        )
    return json.dumps({"files": made}, ensure_ascii=False, separators=(",", ":")).encode()


marked = st.lists(st.tuples(st.sampled_from(" +-"), texts), max_size=30)


@given(st.lists(st.tuples(texts.filter(bool), marked), max_size=4))
def test_the_index_finds_every_file_and_line(files: list[tuple[str, list[tuple[str, str]]]]) -> None:
    data = diff_of(*files)
    wanted = from_json(data)
    entries = index(data)
    assert [(each.path, each.additions, each.deletions) for each in entries] == [
        (file.filename, file.additions, file.deletions) for file in wanted.files
    ]
    for entry, file in zip(entries, wanted.files, strict=True):
        found = outline(data, entry)
        lines = [line for change in file.changes for line in change.lines]
        assert entry.lines == len(found.lines) == len(lines)
        read = list(whole_lines(data, found, 0, len(lines)))
        assert [(each.kind, each.content, each.old, each.new) for each in read] == [
            (line.kind, line.content, line.old_line, line.new_line) for line in lines
        ]
        for at, line in enumerate(lines):
            if line.new_line is not None:
                assert line_number_of(data, found, old=None, new=line.new_line) == at


def test_what_is_no_diff_is_refused() -> None:
    whole = diff_of(("a", [("+", "x")]))
    for data in (b"", b"{}", b'{"files": []}', whole[:-3], whole.replace(b'"additions"', b'"addition"')):
        with pytest.raises(MalformedDiffError):
            index(data)
    assert index(b'{"files":[]}') == ()


@given(marked, st.sampled_from(Layout))
def test_every_line_that_came_or_went_is_shown_once(lines: list[tuple[str, str]], layout: Layout) -> None:
    data = diff_of(("a.py", lines))
    (entry,) = index(data)
    shown = [Coloured(line) for hunk in stretch(data, outline(data, entry), 0, len(lines)) for line in hunk.lines]
    made = html(0, shown, layout)
    anchors = re.findall(r'id="(f0[LR][0-9]+)"', made)
    assert len(anchors) == len(set(anchors))
    for letter, mark, prefix in (("a", "+", "R"), ("d", "-", "L")):
        rows = re.findall(rf'<div class="ln {letter}[^"]*">(.*?)</div>', made, re.DOTALL)
        wanted = [(at, content) for (sign, content), at in zip(lines, numbers(lines), strict=True) if sign == mark]
        assert len(rows) == len(wanted)
        for row, (at, content) in zip(rows, wanted, strict=True):
            assert f'id="f0{prefix}{at[0] if mark == "-" else at[1]}"' in row
            assert text_of(row.partition("<code>")[2]) == shown_as(content)


def numbers(lines: list[tuple[str, str]]) -> list[tuple[int, int]]:
    old = new = 1
    found = []
    for mark, _ in lines:
        found.append((old, new))
        old, new = old + (mark != "+"), new + (mark != "-")
    return found


def text_of(markup: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", markup))


def shown_as(content: str) -> str:
    """What a reader sees: by itself, or with the last carriage return as a mark."""
    end = "CR" if content.endswith("\r") else ""
    return text_of(str(revealed(content.removesuffix("\r")))) + end


@given(texts, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5))
def test_markup_loses_nothing(text: str, cuts: list[tuple[int, int]]) -> None:
    edges = sorted({min(place, len(text)) for cut in cuts for place in cut})
    ranges = list(zip(edges[::2], edges[1::2], strict=False))
    plain = text_of(str(revealed(text)))
    assert text_of(str(code(text, [("hk", *each) for each in ranges], ranges[:1]))) == plain
    assert text_of(str(code(text, (), ranges))) == plain


def test_nothing_in_code_is_hidden() -> None:
    shown = text_of(str(revealed("if\u202e x \x1b[31m\u200b\u2066\x00\rend\u2028\ufeff")))
    for mark in ("U+202E", "ESC[31m", "U+200B", "U+2066", "␀", "CR", "U+2028", "U+FEFF"):
        assert mark in shown
    assert not re.search("[\u202e\u200b\u2066\x00\x1b\r\u2028\ufeff]", shown)
    assert "<script>" not in revealed("<script>alert(1)</script>")


@given(texts, texts)
def test_words_are_in_order_and_the_rest_is_alike(old: str, new: str) -> None:
    went, came = changed_words(old, new)
    for text, ranges in ((old, went), (new, came)):
        places = [place for each in ranges for place in each]
        assert places == sorted(places)
        assert all(0 <= begin < end <= len(text) for begin, end in ranges)
    if went or came:  # without its changed words (and blanks between them) either line is the same
        rest = [without(old, went), without(new, came)]
        assert rest[0].replace(" ", "") == rest[1].replace(" ", "") or "".join(rest[0].split()) == "".join(
            rest[1].split()
        )


def without(text: str, ranges: object) -> str:
    kept, at = "", 0
    for begin, end in ranges:  # type: ignore[attr-defined]  # pairs
        kept, at = kept + text[at:begin], end
    return kept + text[at:]


def test_words_of_a_changed_line() -> None:
    old, new = "    return total + tax", "    return total + tax * 2"
    went, came = changed_words(old, new)
    assert list(went) == []
    assert [new[begin:end] for begin, end in came] == [" * 2"]
    assert changed_words("import os", "class Shop(Base):") == ((), ())
    assert changed_words("x " * 2000, "y " * 2000) == ((), ())


@given(st.lists(texts, max_size=10), st.sampled_from(["a.py", "b.js", "c.html", "d.rs", "e.json", "f.md", "g.c"]))
def test_colours_stay_within_their_lines(lines: list[str], path: str) -> None:
    found = highlight(path, lines)
    assert found is not None
    for line, spans in zip(lines, found, strict=True):
        places = [place for _, begin, end in spans for place in (begin, end)]
        assert places == sorted(places)
        assert not places or places[-1] <= len(line)


def test_colours_are_bounded() -> None:
    assert highlight("a.py", ["def f():", "    return 1"]) == [
        [("hk", 0, 3), ("hf", 4, 5)],
        [("hk", 4, 10), ("hn", 11, 12)],
    ]
    assert highlight("a.py", ["x"] * MAX_HIGHLIGHTED) is None
    assert highlight("a.py", ["x" * MAX_SHOWN_LINE]) is None
    assert highlight("no-such-language", ["x"]) is None


def test_a_long_line_is_cut_with_a_notice() -> None:
    for length in (MAX_SHOWN_LINE + 5, 1 << 20):
        for letter in ("x", "é", '"', "\\", "\x01"):
            data = diff_of(("a.min", [("+", letter * length), ("+", "next")]))
            (entry,) = index(data)
            (hunk,) = stretch(data, outline(data, entry), 0, 2)
            assert hunk.lines[0].content == letter * MAX_SHOWN_LINE
            assert hunk.lines[0].cut > 0
            assert (hunk.lines[0].new, hunk.lines[1]) == (1, Line(LineKind.ADDED, "next", None, 2))
            shown = html(0, [Coloured(line) for line in hunk.lines], Layout.UNIFIED)
            assert "more characters are not shown" in shown
            assert len(shown) < 200 * MAX_SHOWN_LINE


def test_stretches_follow_each_other() -> None:
    lines = [("+", str(number)) for number in range(2 * STRETCH_LINES + 10)]
    data = diff_of(("a", lines))
    (entry,) = index(data)
    found = outline(data, entry)
    contents: list[str] = []
    for first in range(0, len(lines), STRETCH_LINES):
        (hunk,) = stretch(data, found, first, first + STRETCH_LINES)
        assert hunk.is_begun is (first > 0)
        contents += [line.content for line in hunk.lines]
    assert contents == [content for _, content in lines]


def test_removed_after_added_begins_a_new_block() -> None:
    kinds = [LineKind.ADDED, LineKind.REMOVED, LineKind.ADDED]
    made = list(blocks([Coloured(Line(kind, "x", 1, 1)) for kind in kinds]))
    assert [(len(each.removed), len(each.added)) for each in made] == [(0, 1), (1, 1)]


def entry(path: str, at: int = 0, **fields: object) -> FileEntry:
    given = {"kind": Kind.CHANGED, "lines": 3, **fields}
    return FileEntry(
        at=at,
        path=path,
        old_path=None,
        is_binary=False,
        old_mode="100644",
        new_mode="100644",
        encoding="utf-8",
        name_encoding="utf-8",
        additions=1,
        deletions=0,
        begin=0,
        end=0,
        **given,  # type: ignore[arg-type]  # of the right types
    )


def test_what_comes_folded() -> None:
    assert why_folded(entry("src/app.py")) is None
    assert why_folded(entry("web/package-lock.json")) == "A lock file"
    assert why_folded(entry("static/app.min.js")) is not None
    assert why_folded(entry("a.py", kind=Kind.ADDED, lines=401)) == "A large new file"
    assert why_folded(entry("a.py", kind=Kind.DELETED, lines=401)) == "A large deleted file"
    assert why_folded(entry("a.py", lines=401)) is None
    assert why_folded(entry("a.py", lines=3001)) == "A large change"


def leaves(folder: Folder) -> list[str]:
    return [leaf.entry.path for leaf in folder.leaves] + [each for inner in folder.folders for each in leaves(inner)]


names = st.text(string.ascii_lowercase[:3], min_size=1, max_size=2)


@given(st.sets(st.lists(names, min_size=1, max_size=5).map("/".join), max_size=40))
def test_every_file_is_in_the_tree(paths: set[str]) -> None:
    files = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    tree = grow([entry(path, at) for at, path in enumerate(sorted(files))])
    assert sorted(leaves(tree)) == sorted(files)
    assert (tree.files, tree.additions) == (len(files), len(files))


def test_a_large_tree_is_listed_bit_by_bit() -> None:
    entries = [entry(f"src/d{number % 50:02}/f{number}.py", number) for number in range(5000)]
    tree = grow(entries)
    (src,) = tree.folders
    assert (src.name, src.files, len(src.folders)) == ("src", 5000, 50)
    assert sum(each.is_listed for each in src.folders) == (MAX_LISTED - 1 - 50) // 100
    assert len(grow(entries, src.folders[-1].path).leaves) == 100
    flat = grow([entry(f"f{number}", number) for number in range(700)])
    assert (len(flat.leaves), flat.left_out) == (MAX_LISTED, 400)
    rest = grow([entry(f"f{number}", number) for number in range(700)], "", 2 * MAX_LISTED)
    assert (len(rest.leaves), rest.left_out) == (100, 0)


def test_a_deep_path_is_no_deep_recursion() -> None:
    deep = [entry("/".join(["a"] * depth + [f"f{depth}"]), depth) for depth in range(1, 250)]
    folder, depth = grow(deep), 0
    while folder.folders:
        folder, depth = folder.folders[0], depth + 1
    assert depth <= MAX_DEPTH + 1
