"""What a person sees of HTML in a text that a forge shows: what is between tags, not what is in them. Pure."""

import re
from typing import Final

#: In place of what some forges show, and others do not.
LEFT_OUT: Final = "… (not shown)"
#: A comment, what is read as one, or a tag; without `end` it goes on behind the block, and hides what follows.
_MARKUP: Final = re.compile(
    r"<!--(?:(?P<empty>-?>)|.*?(?P<comment>--!?>|\Z))|(?:<[!?]|</(?![a-z])).*?(?P<bogus>>|\Z)"
    r"|</?(?P<name>[a-z][^\s/>]*)(?:[^>\"']|\"[^\"]*\"|'[^']*')*(?P<tag>>?)",
    re.DOTALL | re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"\s(?:href|src)=(?:\"[^\"\s]*\"|'[^'\s]*'|[^\s\"'>]+)", re.IGNORECASE)
#: Elements whose contents forges hide; what GitHub takes for text is not told apart from what hides it elsewhere.
_UNSHOWN: Final = frozenset(
    {"head", "iframe", "noembed", "noframes", "noscript", "object", "script", "style", "template", "title"}
)
#: The names of tags that forges keep, or show as text. Any other is seen nowhere, and could be a word of a sentence.
_ELEMENTS: Final = re.compile(
    r"h[1-6]|[abipqs]|abbr|bdo|blockquote|br|caption|cite|code|dd|del|details|dfn|div|dl|dt|em|figcaption|figure|hr|"
    r"iframe|img|ins|kbd|li|mark|noembed|noframes|ol|picture|plaintext|pre|rp|rt|ruby|samp|script|small|source|span|"
    r"strike|strong|style|sub|summary|sup|table|tbody|td|textarea|tfoot|th|thead|time|title|tr|tt|ul|var|wbr|xmp",
    re.IGNORECASE,
)


def of_html(raw: str) -> tuple[str, str | None]:
    """What is shown of it, and what closes what it leaves open."""
    shown, at = "", 0
    while (markup := _MARKUP.search(raw, at)) is not None:
        shown, at = f"{shown}{raw[at : markup.start()]}{_of_tag(markup)}", markup.end()
        if not (markup["empty"] or markup["comment"] or markup["bogus"] or markup["tag"]):
            return shown, "-->" if markup["comment"] is not None else ">"
        name = (markup["name"] or "").lower()
        if name in _UNSHOWN and not markup[0].startswith("</"):
            close = re.compile(rf"</{name}\b[^>]*>", re.IGNORECASE).search(raw, at)
            if close is None:
                return shown, f"</{name}>"
            shown += LEFT_OUT if raw[at : close.start()].strip() else ""
            at = close.end()
    return shown + raw[at:], None


def _of_tag(markup: re.Match[str]) -> str:
    """Its name and its address, where anybody sees something of such a tag."""
    if not markup["name"]:
        return ""
    if not _ELEMENTS.fullmatch(markup["name"]):
        return "<…>"
    address = _ADDRESS.search(markup[0])
    return f"<{'/' if markup[0].startswith('</') else ''}{markup['name']}{address[0] if address else ''}>"
