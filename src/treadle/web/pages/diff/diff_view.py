"""One file of a diff, made ready for its template: what is said of it, and its lines as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from treadle.domain.diff import LineKind
from treadle.domain.diff_contents import Side, picture_type
from treadle.web.pages.diff.folding import why_folded
from treadle.web.pages.diff.highlighting import Colours, highlight
from treadle.web.pages.diff.index import FileEntry, Kind
from treadle.web.pages.diff.kept import Kept
from treadle.web.pages.diff.lines import Hunk, Line, after_last, line_number_of, stretch
from treadle.web.pages.diff.markup import revealed
from treadle.web.pages.diff.rows import Coloured, Layout, html
from treadle.web.pages.diff.shelf import OpenDiff, Recent
from treadle.web.text import MAX_SHOWN_LINE as _CUT

#: Lines of one file that come at once; more of it are asked for.
STRETCH_LINES = 1000

#: Lines of context that one click opens at most.
MAX_OPENED_LINES = 2000

#: HTML that was made is kept for whoever looks next, up to so many bytes.
MAX_RENDERED_BYTES = 32 << 20

#: Texts whose colours are kept, to open more of their context.
MAX_COLOURED = 32


@dataclass(frozen=True, slots=True)
class Pictures:
    """Whether a side is there to be shown; None: that side has no picture, False: it was not kept."""

    old: bool | None
    new: bool | None


@dataclass(frozen=True, slots=True)
class FileView:
    """`body` None: folded, for the reason `folded`. `more`: the number of the first line that is not in it."""

    entry: FileEntry
    badges: Sequence[str]
    folded: str | None
    body: Markup | None
    more: int | None
    pictures: Pictures | None
    note: str | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    body: Markup
    more: int | None


class FileRenderer:
    """Makes views of files. Its methods take milliseconds to some tenths of a second: call them in a thread."""

    def __init__(self) -> None:
        self._made: Recent[_Stretch] = Recent(
            count=10_000, size=MAX_RENDERED_BYTES, size_of=lambda made: len(made.body)
        )
        self._colours: Recent[tuple[Colours | None]] = Recent(
            count=MAX_COLOURED, size=MAX_COLOURED, size_of=lambda _: 1
        )

    def view(
        self,
        opened: OpenDiff,
        kept: Kept | None,
        entry: FileEntry,
        layout: Layout,
        *,
        first: int = 0,
        is_wanted: bool = False,
        is_whole: bool = False,
        query: str = "",
    ) -> FileView:
        """`is_wanted`: also where it would be folded. `is_whole`: with all of its context that was kept.
        `query` begins that of its links."""
        folded = None if is_wanted else why_folded(entry)
        made = _Stretch(Markup(), None)
        if folded is None and entry.lines:
            made = self._stretch(opened, kept, entry, layout, first=first, is_whole=is_whole, query=query)
        return FileView(
            entry=entry,
            badges=_badges(entry),
            folded=folded,
            body=made.body if folded is None else None,
            more=made.more,
            pictures=_pictures(entry, kept),
            note=_note(entry),
        )

    def opened_context(
        self, opened: OpenDiff, kept: Kept, entry: FileEntry, layout: Layout, *, old: int, new: int, end: int
    ) -> Markup:
        """The lines from `new` on, before `end`, at most MAX_OPENED_LINES; `old` is the first one's old number."""
        lines = kept.lines(entry) or []
        end = min(end, len(lines) + 1, new + MAX_OPENED_LINES)
        return html(entry.at, self._context(opened, entry, lines, old=old, new=new, end=end), layout)

    @staticmethod
    def stretch_of(opened: OpenDiff, entry: FileEntry, *, old: int | None, new: int | None) -> int:
        """The number of the first line of the stretch that holds a line; 0 where none does."""
        number = line_number_of(opened.data, opened.outline(entry), old=old, new=new)
        return 0 if number is None else number - number % STRETCH_LINES

    def _stretch(
        self,
        opened: OpenDiff,
        kept: Kept | None,
        entry: FileEntry,
        layout: Layout,
        *,
        first: int,
        is_whole: bool,
        query: str,
    ) -> _Stretch:
        key = (opened.digest, entry.at, layout, first, is_whole, query, kept is not None)
        made = self._made.get(key)
        if made is None:
            made = self._make(opened, kept, entry, layout, first=first, is_whole=is_whole, query=query)
            self._made.put(key, made)
        return made

    def _make(
        self,
        opened: OpenDiff,
        kept: Kept | None,
        entry: FileEntry,
        layout: Layout,
        *,
        first: int,
        is_whole: bool,
        query: str,
    ) -> _Stretch:
        found = opened.outline(entry)
        last = min(first + STRETCH_LINES, len(found.lines))
        text = kept.lines(entry) if kept is not None else None
        colours = self._colours_of(opened, entry, text) if text is not None else None
        parts: list[Markup] = []
        for hunk in stretch(opened.data, found, first, last):
            if not hunk.is_begun:
                gap = (hunk.after_old, hunk.after_new, hunk.new or 1)
                parts.append(
                    self._gap(opened, entry, layout, text, gap, note=hunk.note, is_whole=is_whole, query=query)
                )
            parts.append(html(entry.at, _coloured(entry, hunk, colours), layout))
        if last == len(found.lines) and text is not None:
            old, new = after_last(opened.data, found)
            gap = (old, new, len(text) + 1)
            parts.append(self._gap(opened, entry, layout, text, gap, note="", is_whole=is_whole, query=query))
        return _Stretch(Markup("").join(parts), last if last < len(found.lines) else None)

    def _gap(
        self,
        opened: OpenDiff,
        entry: FileEntry,
        layout: Layout,
        text: Sequence[str] | None,
        gap: tuple[int, int, int],
        *,
        note: str,
        is_whole: bool,
        query: str,
    ) -> Markup:
        """What is between two hunks: opened, or a line that says so, with a link where it can be opened."""
        old, new, end = gap
        size = end - new
        if size > 0 and is_whole and text is not None:
            return html(entry.at, self._context(opened, entry, text, old=old, new=new, end=end), layout)
        if size <= 0 and not note:
            return Markup("")
        said = f"{size} unchanged line{'' if size == 1 else 's'}" if size > 0 else ""
        link = Markup('<a class="open-context" href="?{}" data-context="{}">Show {}</a>').format(
            f"{query}at={entry.at}&whole=1#f{entry.at}", f"{query}at={entry.at}&old={old}&new={new}&end={end}", said
        )
        shown = link if size > 0 and text is not None else Markup("<span>{}</span>").format(said)
        about = Markup("<code>{}</code>").format(revealed(note[:200])) if note else Markup("")
        return Markup('<div class="gap">{}{}</div>').format(shown, about)

    def _context(
        self, opened: OpenDiff, entry: FileEntry, text: Sequence[str], *, old: int, new: int, end: int
    ) -> Sequence[Coloured]:
        colours = self._colours_of(opened, entry, text)
        found = []
        for number in range(max(1, new), min(end, len(text) + 1)):
            content = text[number - 1]
            line = Line(LineKind.CONTEXT, content[:_CUT], number - new + old, number, cut=max(0, len(content) - _CUT))
            found.append(Coloured(line, colours[number - 1] if colours is not None else ()))
        return found

    def _colours_of(self, opened: OpenDiff, entry: FileEntry, text: Sequence[str]) -> Colours | None:
        key = (opened.digest, entry.at)
        found = self._colours.get(key)
        if found is None:
            found = (highlight(entry.path, text),)
            self._colours.put(key, found)
        return found[0]


def _coloured(entry: FileEntry, hunk: Hunk, colours: Colours | None) -> Sequence[Coloured]:
    """The old side's colours are those of the hunk's old lines, read as one text; the new side's, those of the whole
    text where it was kept."""
    kinds = {line.kind for line in hunk.lines}
    old = [line for line in hunk.lines if line.kind is not LineKind.ADDED] if LineKind.REMOVED in kinds else []
    by_old = dict(zip((line.old for line in old), _spans(entry.old_path or entry.path, old), strict=True))
    if colours is None:
        new = [line for line in hunk.lines if line.kind is not LineKind.REMOVED]  # context takes its colours
        by_new = dict(zip((line.new for line in new), _spans(entry.path, new), strict=True))
    else:
        by_new = dict(enumerate(colours[max(0, hunk.new - 1) : hunk.new + 2 * len(hunk.lines)], max(1, hunk.new)))
    return [
        Coloured(line, by_old.get(line.old, ()) if line.kind is LineKind.REMOVED else by_new.get(line.new, ()))
        for line in hunk.lines
    ]


def _spans(path: str, lines: Sequence[Line]) -> Colours:
    return highlight(path, [line.content.removesuffix("\r") for line in lines]) or [()] * len(lines)


def _badges(entry: FileEntry) -> Sequence[str]:
    found = [str(entry.kind)] if entry.kind is not Kind.CHANGED else []
    if entry.is_binary:
        found.append("binary")
    if entry.has_new_mode:
        found.append(f"{_mode(entry.old_mode)} → {_mode(entry.new_mode)}")
    elif entry.new_mode in _SPECIAL or entry.old_mode in _SPECIAL:
        found.append(_mode(entry.new_mode or entry.old_mode))
    elif entry.kind is Kind.ADDED and entry.new_mode == "100755":
        found.append("executable")
    if entry.encoding != "utf-8":
        found.append("not UTF-8")
    return found


_SPECIAL = {"120000": "symbolic link", "160000": "submodule"}
_MODES = {"100644": "not executable", "100755": "executable", **_SPECIAL}


def _mode(mode: str | None) -> str:
    return _MODES.get(mode or "", str(mode))


def _pictures(entry: FileEntry, kept: Kept | None) -> Pictures | None:
    if not entry.is_binary or picture_type(entry.path) is None:
        return None

    def side(which: Side) -> bool:
        return kept is not None and kept.has(entry, which)

    return Pictures(
        old=side(Side.OLD) if entry.old_mode is not None else None,
        new=side(Side.NEW) if entry.new_mode is not None else None,
    )


def _note(entry: FileEntry) -> str | None:
    """What is said in the place of lines."""
    if entry.lines:
        return None
    if entry.is_binary:
        return "A binary file: what changed in it cannot be shown as lines."
    if entry.kind is Kind.RENAMED:
        return "Renamed, with nothing changed in it."
    if entry.has_new_mode:
        return "Only its mode changed."
    return "An empty file."
