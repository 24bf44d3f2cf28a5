"""What a person sees of a text that a forge shows as Markdown. What is not shown (comments, definitions, attributes,
titles, words for images) would reach an agent unseen by whoever looked the text over. Pure.

Sources: spec.commonmark.org, "HTML blocks" and "Raw HTML"; html.spec.whatwg.org, "Comment state", "Bogus comment
state"; github.github.com/gfm, "Tables", "Disallowed Raw HTML". Where forges differ, what one of them hides is hidden,
and a mark of ours stands in its place.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.common.utils import mdTrim
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.html_block import HTML_SEQUENCES
from markdown_it.rules_block.table import escapedSplit, table
from markdown_it.rules_inline import StateInline, html_inline, image, link
from markdown_it.token import Token

from treadle.services.trigger_html import LEFT_OUT, of_html

_CUT: Final = "… (cut here)"
#: Of the last paragraph of a text that was cut: what would be hidden, if all of it were there.
_MAY_HIDE: Final = re.compile(r"<[!?/a-z]|!\[|\]\(|\A\[", re.IGNORECASE)
#: What a fence says of its code, which is seen as colours at most: no other word.
_LANGUAGE: Final = re.compile(
    r"bash|c|c\+\+|clojure|console|cpp|c#|cs|csharp|css|csv|dart|diff|docker|dockerfile|elixir|erlang|fish|fsharp|go|"
    r"graphql|groovy|haskell|hcl|html|http|ini|java|javascript|js|json|json5|jsonc|jsx|julia|kotlin|kt|latex|lua|"
    r"makefile|markdown|math|md|mermaid|nginx|nix|objc|objective-c|ocaml|patch|perl|php|plaintext|plantuml|postgresql|"
    r"powershell|proto|protobuf|ps1|py|pycon|python|r|rb|rs|rst|ruby|rust|scala|scss|sh|shell|sql|"
    r"suggestion(?::-[0-9]{1,3}\+[0-9]{1,3})?|svelte|swift|tcl|terraform|tex|text|toml|ts|tsx|txt|typescript|vue|xml|"
    r"yaml|yml|zig|zsh",
    re.IGNORECASE,
)
#: Of the line below a table's head: it is no heading's.
_MARKED: Final = re.compile(r"[-\s]*[:|]")
#: A line that holds one tag and nothing else.
_TAG: Final = HTML_SEQUENCES[-1][0]
_BARE: Final = re.compile(r"(?:[ \t>]|(?:[-*+]|[0-9]{1,9}[.)])(?=\s|\Z))+")
#: A footnote that nothing refers to is not shown; few are needed to understand a request.
_FOOTNOTE: Final = re.compile(r"\[\^[^\]\s]+\]:")


@dataclass(frozen=True, slots=True)
class _Change:
    """What is shown in place of a part of a paragraph; `closer` ends what is not shown behind it."""

    start: int
    end: int
    shown: str
    closer: str | None = None


def visible(text: str, most: int) -> str:
    """Of the first `most` characters. Lines that hold nothing hidden stay as they were written."""
    is_cut = len(text) > most
    source = text[:most].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    env = dict[str, dict[str, set[_Change]]](changes={})
    tokens = _MARKDOWN.parse("\n".join(source), env)
    page = _Page(source, env["changes"])
    for token in tokens:
        page.show(token)
    if is_cut:
        page.hide_end(tokens)
    return page.text() + (f"\n{_CUT}" if is_cut else "")


class _Page:
    """Only what is known to be shown is on it."""

    def __init__(self, source: Sequence[str], changes: dict[str, set[_Change]]) -> None:
        self._source = source
        self._changes = changes
        self._shown = dict[int, str]()
        self._closer: str | None = None  # of what an HTML block left open: raw HTML alone has it
        self._rows: dict[int, list[str]] | None = None  # of the table that is read: the line of each, and its cells

    def text(self) -> str:
        shown = [
            self._shown.get(at, "") for at, line in enumerate(self._source) if at in self._shown or not line.strip()
        ]
        is_open = self._closer is not None and self._closer.startswith("</")
        return "\n".join([*shown, LEFT_OUT] if is_open else shown)

    def hide_end(self, tokens: Sequence[Token]) -> None:
        """The last paragraph, or the last row of a table, where it may hide something."""
        placed = [token for token in tokens if token.map is not None]
        last = [token for token in placed if token.type == "inline" and token.map == placed[-1].map]
        if any(_MAY_HIDE.search(token.content) for token in last):
            for at in _lines(last[-1]):
                self._shown.pop(at, None)

    def show(self, token: Token) -> None:
        if self._closer is not None and token.type != "html_block":
            return
        lines = _lines(token)
        match token.type:
            case "html_block":
                self._show_html(token.content, lines[0])
            case "fence":
                self._keep(lines)
                before, mark, _ = self._source[lines[0]].partition(token.markup)
                language = "".join(token.info.split()[:1])
                self._shown[lines[0]] = before + mark + (language if _LANGUAGE.fullmatch(language) else "")
            case "footnote":
                self._shown[lines[0]] = LEFT_OUT
            case "code_block" | "hr" | "heading_open":
                self._keep(lines)
            case "list_item_open" | "blockquote_open":
                self._keep_bare(lines)
            case "table_open":
                self._rows = {}
            case "inline" if self._rows is not None:
                self._rows.setdefault(lines[0], []).append(token.content)
            case "table_close" if self._rows is not None:
                self._show_table(self._rows)
                self._rows = None
            case "inline":
                self._show_words(token.content, lines)

    def _keep(self, lines: range) -> None:
        for at in lines:
            self._shown.setdefault(at, self._source[at])

    def _keep_bare(self, lines: range) -> None:
        """Marks that stand alone: of an item without words, of an empty line that is quoted."""
        for at in lines:
            if _BARE.fullmatch(self._source[at]):
                self._shown.setdefault(at, self._source[at])

    def _show_html(self, raw: str, at: int) -> None:
        if self._closer is not None:
            _, found, raw = raw.partition(self._closer)
            if not found:
                return
        shown, self._closer = of_html(raw)
        self._shown[at] = shown.rstrip("\n")

    def _show_words(self, content: str, lines: range) -> None:
        self._keep(lines)
        changed = _changed(content, self._changes.get(content, ()))
        if changed == content:
            return
        places = iter(lines)
        for was, now in zip(content.split("\n"), changed.split("\n"), strict=True):
            for at in places:  # a line of odd blanks may be none of the content's
                before, found, after = self._shown[at].partition(was.strip(" \t") or "\n")
                self._shown[at] = f"{before}{now.strip()}{after}" if found else ""
                if found:
                    break
        for at in places:
            self._shown[at] = ""

    def _show_table(self, rows: dict[int, list[str]]) -> None:
        head = min(rows)
        self._keep(range(head + 1, head + 2))  # the line below it
        for at, cells in rows.items():
            self._show_row(at, cells)

    def _show_row(self, at: int, cells: Sequence[str]) -> None:
        """As it was written, unless it has more cells than the table's head, which are not among these."""
        line = self._source[at]
        bare = _BARE.match(line)
        start = bare.end() if bare is not None else 0
        written = escapedSplit(mdTrim(line[start:]))
        count = len(written) - (not written[0]) - (len(written) > 1 and not written[-1])
        shown = [_changed(cell, self._changes.get(cell, ())) for cell in cells[:count]]
        if count <= len(cells) and shown == cells[:count]:
            self._keep(range(at, at + 1))
        else:
            row = " | ".join(cell.strip().replace("|", "\\|") for cell in shown)
            self._shown[at] = f"{line[:start]}| {row} |{f' {LEFT_OUT}' if count > len(cells) else ''}"


def _lines(token: Token) -> range:
    return range(*token.map) if token.map is not None else range(0)


def _changed(content: str, changes: Iterable[_Change]) -> str:
    """In as many lines."""
    shown, end = "", 0
    for change in sorted(changes, key=lambda each: (each.start, -each.end)):
        if change.start < end:
            continue
        shown += content[end : change.start] + change.shown
        end = change.end
        if change.closer is not None:
            found = content.find(change.closer, end)
            shown += LEFT_OUT if content[end : None if found < 0 else found].strip() else ""
            end = len(content) if found < 0 else found + len(change.closer)
        shown += "\n" * (content.count("\n", change.start, end) - change.shown.count("\n"))
    return shown + content[end:]


Rule = Callable[[StateInline, bool], bool]


def _noting(rule: Rule, change: Callable[[StateInline, int], _Change]) -> Rule:
    """The rule, which also notes what is shown of what it has read."""

    def noted(state: StateInline, silent: bool) -> bool:
        start = state.pos
        is_found = rule(state, silent)
        if is_found and not silent:
            state.env["changes"].setdefault(state.src, set()).add(change(state, start))
        return is_found

    return noted


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """As GitHub reads it: dashes alone make a heading, and a head of one column needs no pipe."""
    below = start + 1
    if below >= end or not _MARKED.match(_line(state, below)):
        return False
    source, head_end = state.src, state.eMarks[start]
    if "|" in source[state.bMarks[start] : head_end]:
        return table(state, start, end, silent)
    if _TAG.match(_line(state, start)):
        return False
    state.src, state.eMarks[start] = f"{source[:head_end]}|{source[head_end + 1 :]}", head_end + 1
    try:
        return table(state, start, end, silent)
    finally:
        state.src, state.eMarks[start] = source, head_end


def _footnote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """With what goes on in the lines below it."""
    if state.is_code_block(start) or not _FOOTNOTE.match(_line(state, start)):
        return False
    if silent:
        return True
    enders = [rule for rule in state.md.block.ruler.getRules("paragraph") if rule is not _table]
    at, is_paragraph = start + 1, True
    while at < end and (
        state.isEmpty(at)
        or state.is_code_block(at)
        or (is_paragraph and not any(ender(state, at, end, True) for ender in enders))
    ):
        is_paragraph = not state.isEmpty(at)
        at += 1
    state.push("footnote", "", 0).map = [start, at]
    state.line = at
    return True


def _lone_tag(state: StateBlock, start: int, _end: int, silent: bool) -> bool:
    """At GitHub it ends a table, a quotation and an item whose paragraph would go on, and begins raw HTML."""
    is_heeded = silent and (state.parentType != "paragraph" or state.sCount[start] < state.blkIndent)
    return is_heeded and _TAG.match(_line(state, start)) is not None


def _line(state: StateBlock, at: int) -> str:
    return state.src[state.bMarks[at] + state.tShift[at] : state.eMarks[at]]


def _html_change(state: StateInline, start: int) -> _Change:
    return _Change(start, state.pos, *of_html(state.src[start : state.pos]))


def _link_change(state: StateInline, start: int) -> _Change:
    """The words stay, and the address, where it is no text itself."""
    end = state.md.helpers.parseLinkLabel(state, start, True) + 1
    opening = next(token for token in reversed(state.tokens) if token.type == "link_open")
    return _Change(end, state.pos, f"({_address(opening, 'href')})")


def _image_change(state: StateInline, start: int) -> _Change:
    return _Change(start, state.pos, f"![]({_address(state.tokens[-1], 'src')})")


def _address(token: Token, name: str) -> str:
    address = str(token.attrs[name])
    return "" if "%20" in address else address


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: ARG002, N802 - the base class names it
        """Whatever its address, it is read as a link: a forge may show its words alone."""
        return True


def _markdown() -> MarkdownIt:
    made = _Markdown("commonmark")
    # Behind all that begins with a mark of its own: what opens a fence or a comment is no head of a table.
    made.block.ruler.before("lheading", "shown_table", _table, {"alt": ["paragraph", "reference"]})
    made.block.ruler.before(
        "reference", "footnote", _footnote, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    made.block.ruler.before("lheading", "lone_tag", _lone_tag, {"alt": ["paragraph", "blockquote"]})
    made.inline.ruler.at("html_inline", _noting(html_inline, _html_change))
    made.inline.ruler.at("link", _noting(link, _link_change))
    made.inline.ruler.at("image", _noting(image, _image_change))
    return made


_MARKDOWN: Final = _markdown()
