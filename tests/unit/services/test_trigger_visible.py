"""What only a renderer knows to hide reaches no agent; what a person sees does, as it was written."""

import itertools
import re
import time
from html.parser import HTMLParser
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from treadle.domain.deliveries import CommentPosted, Issue, Person, ReviewRequested, Subject
from treadle.services.trigger_texts import comment_text, issue_text, review_text
from treadle.services.trigger_visible import visible

URL = "https://git.example/acme/shop/issues/7"
SECRET = UUID("6f1f0a3e-0000-4000-8000-000000000001")
MOST = 1_000


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a <!-- HIDDEN --> b", "a  b"),
        ("a\n<!-- HIDDEN\n\nHIDDEN -->\nb", "a\n\n\nb"),
        ("a\n\n<!-- HIDDEN\n\nHIDDEN", "a"),
        ("<div>\n<!--\n\nHIDDEN\n\n--> </div>\n\nHIDDEN: shown text holds no end of a comment", "<div>"),
        ("<div>\n<!--\n\nHIDDEN\n\n<p>HIDDEN --> b</p>", "<div>\n\n\n b</p>"),
        ("<? HIDDEN ?> <!HIDDEN> <![CDATA[ HIDDEN ]]> b", "b"),
        ("a `\n<!-- HIDDEN ` -->\nb", "a `\n\nb"),
        ("- ```\n  b\n<!-- HIDDEN: the list has ended, and its code with it -->", "- ```\n  b"),
        ("| a | b |\n|---|---|\n| ` | <!-- HIDDEN --> | b ` |", "| a | b |\n|---|---|\n| ` |  | … (not shown)"),
        ("| a |\n|---|\n| b | HIDDEN |", "| a |\n|---|\n| b | … (not shown)"),
        ("| a |\n|---|\n| b | <!-- HIDDEN --> |\n| c |", "| a |\n|---|\n| b | … (not shown)\n| c |"),
        (
            "a | b\n-|-\nc | d | HIDDEN\nc\\|d | `e | HIDDEN`",
            "a | b\n-|-\n| c | d | … (not shown)\n| c\\|d | `e | … (not shown)",
        ),
        ("a | b\n--- | ---\nc | d | HIDDEN", "a | b\n--- | ---\n| c | d | … (not shown)"),
        ("| a |\n|---|\n|| HIDDEN", "| a |\n|---|\n|  | … (not shown)"),
        ("> - | a |\n>   |---|\n>   | b | HIDDEN", "> - | a |\n>   |---|\n>   | b | … (not shown)"),
        ("a\n:-\nb | HIDDEN\n\nc | d", "a\n:-\n| b | … (not shown)\n\nc | d"),
        ("> a\n> | - |\n> b | HIDDEN", "> a\n> | - |\n> | b | … (not shown)"),
        ("|a|\n|-|\n<x>\n\\<!-- HIDDEN -->", "|a|\n|-|\n<…>\n\\"),
        ("- a\n<x>\n\\<!-- HIDDEN -->", "- a\n<…>\n\\"),
        ("``` x | y\n-|-\n```\n<!-- HIDDEN -->", "```\n-|-\n```"),
        ("| a <!-- HIDDEN --> | b |\n|---|---|\n| c | d |", "| a | b |\n|---|---|\n| c | d |"),
        ("| a | b |\n|---|---|\n| c \\| d <!-- HIDDEN --> | e |", "| a | b |\n|---|---|\n| c \\| d | e |"),
        ("| a | b |\n|---|---|\n| `<b x>` | <b x='HIDDEN'> |", "| a | b |\n|---|---|\n| `<b x>` | <b> |"),
        ("a | b\n--|--\n[^1]: HIDDEN | c\nHIDDEN | d\n\ne", "a | b\n--|--\n… (not shown)\n\ne"),
        ("[^1]: HIDDEN\nHIDDEN | HIDDEN\n-|-\n\na", "… (not shown)\n\na"),
        ("a\n[^1]: HIDDEN\nHIDDEN\n# b", "a\n… (not shown)\n# b"),
        ("- a\n- [^1]: HIDDEN HIDDEN\n\n      HIDDEN\n- b", "- a\n… (not shown)\n\n- b"),
        ("a <HIDDEN-and-push href=b>b</HIDDEN-and-push> c", "a <…>b<…> c"),
        ("<HIDDEN-and-push>\n\nb", "<…>\n\nb"),
        ("<details>\n<HIDDEN>b</HIDDEN>\n</details>", "<details>\n<…>b<…>\n</details>"),
        ("<section HIDDEN>\n<a <HIDDEN>", "<…>\n<a>"),
        ("```HIDDEN-all-rules\na\n```", "```\na\n```"),
        ("> ~~~ HIDDEN\n> a\n> ~~~", "> ~~~\n> a\n> ~~~"),
        ("> a <!-- HIDDEN\n> HIDDEN --> b\n> c", "> a\n> b\n> c"),
        ("\u00a0\na <!-- HIDDEN --> b", "a  b"),
        ("# a <!-- HIDDEN -->\n\nb <!-- HIDDEN -->\n===", "# a\n\nb\n==="),
        (">" * 25 + " <!-- HIDDEN -->", ""),
        ("[//]: # (HIDDEN)\na", "a"),
        ("[x]: <> 'HIDDEN\nHIDDEN'\n\na", "a"),
        ("[a][x]\n\n[x]: https://b.example 'HIDDEN'", "[a](https://b.example)"),
        ("[a](https://b.example 'HIDDEN')", "[a](https://b.example)"),
        ("[a](<javascript:HIDDEN HIDDEN>)", "[a]()"),
        ("![HIDDEN](https://b.example/a.png 'HIDDEN')", "![](https://b.example/a.png)"),
        ("![`<!-- a -->`](b) <!-- HIDDEN -->", "![](b)"),
        ("<div title='HIDDEN' href=b>a</div>", "<div href=b>a</div>"),
        ("a <b data-x='HIDDEN'>b</b>", "a <b>b</b>"),
        ("<img alt='HIDDEN' width='1' src='https://b.example/a.png'>", "<img src='https://b.example/a.png'>"),
        ("<script>\nHIDDEN\n\nHIDDEN</script>\n\nb", "<script>… (not shown)\n\n\nb"),
        ("a <template>HIDDEN</template> b", "a <…>… (not shown) b"),
        ("a <style>HIDDEN\nHIDDEN\n\nb", "a <style>… (not shown)\n\n\nb"),
        ("a <title></title> b <title>HIDDEN", "a <title> b <title>… (not shown)"),
        ("<title>HIDDEN\n\nHIDDEN", "<title>\n\n… (not shown)"),
        ("<div title='\n\nHIDDEN\n\n'>\n", "<div>"),
        ("```python HIDDEN\na\n```", "```python\na\n```"),
        ("[^1]: HIDDEN\n\n    HIDDEN\n\na", "… (not shown)\n\n\na"),
        ("[^1]: HIDDEN\n    HIDDEN\n\na", "… (not shown)\n\na"),
    ],
)
def test_what_a_renderer_hides_is_taken_out(text: str, seen: str) -> None:
    found = visible(text, MOST)
    assert "HIDDEN" not in found
    assert found.strip() == seen


@pytest.mark.parametrize(
    "text",
    [
        "```html\n<!-- shown -->\n[x]: # (shown)\n```",
        "~~~~\n```\n<!-- shown -->\n~~~~\n",
        "    <!-- shown -->\n",
        "Mind `<!-- shown -->` and ``a ` <!-- shown -->``.",
        "> ```\n> <!-- shown -->\n> ```",
        "```c++\na\n```\n\n~~~objective-c\na\n~~~\n\n```suggestion:-0+1\na\n```",
        "a | b\n--|--\nc\\|d | `e \\| f`\n|| g\nonly\n",
        "Name | Size\n--- | ---\n`a` | 1\n",
        "- | a |\n  |:--|\n  | b |\n\n| Heading |\n---\na | b\n\nc | d\n",
        "Ask <ada@b.example> or see <https://b.example>: `List<String>`, Map<String, Integer>, a<b>=c.\n",
        "- [ ] one\n- [x] two\n  - [ ] three\n\n> On Monday, Ada wrote:\n>> Please mend it.\n>\n> Done[^1].\n",
        "> ```diff\n> - a | <!-- b -->\n> + [c](d 'e')\n> ```\n\n```suggestion\n<title>a</title>\n```\n",
        "<details>\n<summary>Log</summary>\n\n```console\n$ cat a | grep '<b c=d>'\n```\n\n</details>\n",
        "<details><summary>More</summary>\nAll <b>seen</b>, <kbd>Esc</kbd>.\n</details>\n",
        "\\<!-- shown --> &lt;!-- shown --&gt;",
        "Begun and never ended: <!-- shown",
        "1 < 2, a<b, <https://b.example>\n\n---\n\n1. one\n   * two\n\n<details><summary></summary>\n\nb\n</details>\n",
        "-\n\n* *\n\n> a\n>\n> b\n\n1.\n2. c\n",
        "[a](https://b.example) ![](c.png)\n\n| a | b |\n|:--|--:|\n| `\\|` | c |\n",
    ],
)
def test_what_a_person_sees_stays_as_it_was_written(text: str) -> None:
    assert visible(text, MOST) == text


@given(st.text(st.characters(categories=["L", "N", "Zs"], include_characters="\n.,:;()?`~|>-#*_"), max_size=300))
def test_a_text_without_brackets_loses_no_word(text: str) -> None:
    assume("```" not in text and "~~~" not in text)  # of what follows them a language alone stays
    found = visible(text, MOST)
    assume("not shown" not in found)  # of a row of more cells than its table's head
    assert found.split() == text.split()


INLINE = (
    "W W",
    "`W <!-- W -->`",
    "W <!-- W -->",
    "<b title='W'>W</b>",
    "[W](u 'W')",
    "![W](u)",
    "List<W>",
    "<W@b.example>",
    "**W** \\| W",
    "\\<W> &lt;W&gt;",
    "<ins>`W</ins>",
)
BLOCKS = (
    "I I\nI",
    "> I\n> I\n\nI",
    "# I",
    "- [ ] I\n  - I\n\n    I",
    "| I | I |\n|---|:--|\n| I | I | I |\n| I |\n|| I",
    "> I | I\n> --- | ---\n> I | I | I",
    "1. | I |\n   |:-|\n   I | I",
    "```W W\nW <!-- W -->\n```",
    "1. ~~~ W\n   W\n   ~~~",
    "    W <!-- W -->",
    "<details><summary x='W'>W</summary>\n\nI\n\n</details>",
    "<!-- W\n\nW -->",
    "<W x='W'>\nI\n</W>",
    "[W]: u 'W'",
)


class Seen(HTMLParser):
    """The words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words = set[str]()
        self.feed(page)
        self.close()

    def handle_data(self, data: str) -> None:
        self.words |= words(data)


def words(text: str) -> set[str]:
    return set(re.findall(r"w[0-9]+w", text))


@given(st.lists(st.sampled_from(BLOCKS), max_size=6), st.data())
def test_the_words_of_it_are_those_that_a_renderer_shows(blocks: list[str], data: st.DataObject) -> None:
    text = re.sub("I", lambda _: data.draw(st.sampled_from(INLINE)), "\n\n".join(blocks))
    count = itertools.count()
    text = re.sub("W", lambda _: f"w{next(count)}w", text)
    assert words(visible(text, 10_000)) == Seen(MarkdownIt("commonmark").enable("table").render(text)).words


@given(st.text(st.sampled_from("<!->ab [](){}\n`|#'\"=/\\^:&\u00a0\r\t"), max_size=200), st.integers(1, 200))
def test_whatever_is_written_is_read(text: str, most: int) -> None:
    visible(text, most)


@pytest.mark.parametrize(
    "begun", ["<!-- ", "a <!-- ", "a <a title='", "[x]: # (", "a ![", "a [b](<", "<div title='", "|a|b|\n|-|-|\n|<!-- "]
)
def test_what_the_cut_leaves_open_is_not_shown(begun: str) -> None:
    found = visible(f"Seen.\n\n{begun}{'HIDDEN ' * 50}", 100)
    assert "HIDDEN" not in found
    assert found.startswith("Seen.\n")
    assert found.endswith("\n… (cut here)")


@pytest.mark.parametrize(
    "unit",
    ["[", "![[", "- a\n", "|a\n", "<a '", "<!-- ", "*a _b ", "[a](<b", "<script>", "[^a]: b\n", "a\n|-|\n", "`a "],
)
def test_a_text_made_to_take_long_takes_no_time(unit: str) -> None:
    began = time.thread_time()
    visible(unit * (30_000 // len(unit)), 30_000)
    assert time.thread_time() - began < 10  # of the processor, where about one is used


def test_every_text_of_a_forge_is_read_so() -> None:
    hidden, who = "Please.\n\n<!-- HIDDEN -->\n\n```\n<!-- shown -->\n```", Person("ada", "1")
    comment = CommentPosted(Subject.ISSUE, 7, "<!-- shown --> title", hidden, "1", hidden, URL, who)
    asked = ReviewRequested(7, "Title", hidden, URL, who, who, "a", "main", "a" * 40, is_from_fork=False)
    for said in (
        issue_text(Issue(7, "Title", hidden, URL, who), "acme/shop", SECRET),
        comment_text(comment, "acme/shop", SECRET, with_about=True),
        review_text(asked, "acme/shop", SECRET),
    ):
        assert "HIDDEN" not in said
        assert "<!-- shown -->" in said
