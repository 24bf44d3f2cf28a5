"""Events as items: every type has words, calls are whole, and no shape of data is too strange."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from tests.support.deployment import StillClock

from treadle.domain.events import Event, EventType
from treadle.domain.states import Phase
from treadle.web import trace as trace_module
from treadle.web.prose import PartKind, prose
from treadle.web.render import Renderer
from treadle.web.tool_input import MAX_COMPARED_LINES, MAX_PARTS, BlockKind, blocks, small_diff, summary
from treadle.web.trace import Item, ItemKind, Trace, items, text_of_event
from treadle.web.trace_words import WORDS, outside

NOW = datetime(2026, 10, 1, 9, 30, tzinfo=UTC)
RENDERER = Renderer(StillClock())


def event(type_: EventType, data: Any = None, number: int = 7, step: int | None = 2, **more: Any) -> Event:
    phase = more.pop("phase", Phase.IMPLEMENTATION)
    return Event(1, number, type_, data or {}, more.pop("date", NOW), step, phase)


def item(type_: EventType, **data: Any) -> Item:
    return Trace().read(event(type_, data))


def html(*shown: Item) -> str:
    return RENDERER.html("run_news.html", items=shown, base="/runs/1")


def told(type_: EventType, **data: Any) -> str:
    """In plain words: what the item's line says."""
    found = item(type_, **data)
    return " ".join(each for each in (found.title, found.detail, found.body) if each)


@pytest.mark.parametrize("type_", EventType)
def test_every_type_of_event_is_shown(type_: EventType) -> None:
    found = Trace().read(event(type_))
    assert found.number == 7
    assert 'id="e7"' in html(found)
    has_body = {ItemKind.TEXT, ItemKind.THOUGHT, ItemKind.OUTPUT, ItemKind.TOOL}
    assert found.title or found.kind in has_body
    assert type_ in WORDS or found.kind in has_body


@pytest.mark.parametrize(
    ("type_", "data", "said"),
    [
        (EventType.RUN_CREATED, {"steps": 3, "engine": "Kimi"}, "Asked for 3 steps, Kimi"),
        (EventType.RUN_STARTED, {"worker": "w", "lease": 1}, "A worker began w"),
        (EventType.RUN_STARTED, {"worker": "w", "lease": 2}, "Another worker goes on w"),
        (EventType.RUN_REQUEUED, {"reason": "lease_expired"}, "The worker was lost; another goes on"),
        (EventType.RUN_REQUEUED, {"reason": "released"}, "The worker handed the run over; another goes on"),
        (EventType.RUN_REQUEUED, {"reason": "follow_up"}, "It goes on with the follow-up"),
        (EventType.RUN_RESUMED, {"text": "And?"}, "Resumed with a follow-up And?"),
        (EventType.RUN_KILL_REQUESTED, {}, "Somebody asked to stop it"),
        (EventType.RUN_FINISHED, {"status": "Success"}, "Done"),
        (EventType.RUN_FINISHED, {"status": "Failed", "failureDetails": "Said with its step."}, "The run failed"),
        (EventType.RUN_FINISHED, {"status": "Killed"}, "The run was stopped"),
        (EventType.STEP_STARTED, {"text": "Do it"}, "Step 2 Do it"),
        (EventType.STEP_STARTED, {"text": "Look", "isCommitable": False}, "Step 2, analysis only Look"),
        (EventType.STEP_FINISHED, {"status": "Success"}, "Step 2 is done"),
        (EventType.STEP_FINISHED, {"status": "Failed", "failureDetails": "No."}, "Step 2 failed No."),
        (EventType.PHASE_STARTED, {"prompt": "P", "attempt": 2}, "Implementation, attempt 2 P"),
        (
            EventType.PHASE_FINISHED,
            {"output": "", "usage": {"inputTokens": 900, "outputTokens": 100, "costUsd": 0.5, "durationMs": 8200}},
            "Implementation is done 8.2 s, 1.0k tokens, $0.50",
        ),
        (
            EventType.ENGINE_RETRY,
            {"by": "runner", "reason": "Overloaded", "attempt": 2, "delaySeconds": 2.5},
            "The phase is tried again in 2.5 s, attempt 2 Overloaded",
        ),
        (EventType.ENGINE_RETRY, {"by": "engine", "reason": "429"}, "A request is sent again 429"),
        (
            EventType.GIT_COMMITTED,
            {"sha": "a" * 40, "files": 1, "additions": 1200, "deletions": 3},
            "Committed aaaaaaaaa 1 file, +1,200 -3",
        ),
        (EventType.GIT_PUSHED, {"sha": "b" * 40, "branch": "work"}, "Pushed bbbbbbbbb to work"),
        (EventType.GIT_COMPARED, {"ahead": 2, "behind": 0}, "Compared with the source branch 2 ahead, 0 behind"),
        (EventType.SETUP_FINISHED, {"exitCode": 3, "durationMs": 9}, "The setup commands ended with exit code 3 9 ms"),
        (
            EventType.MODEL_ANSWERED,
            {"model": "kimi-k2", "inputTokens": 900, "cacheReadTokens": 1100, "outputTokens": 30, "costUsd": 0.0123,
             "status": 200, "durationMs": 2100},
            "The model answered kimi-k2, 2.0k in, 30 out, $0.0123, 2.1 s",
        ),
        (EventType.MODEL_ANSWERED, {"status": 529, "durationMs": 9},
         "The model API answered 529 0 in, 0 out, $0.00, 9 ms"),
        (EventType.MODEL_ANSWERED, {"status": 200, "isEstimated": True, "durationMs": 9},
         "The model answered 0 in, 0 out, $0.00, 9 ms; estimated, as it broke off"),
        (EventType.BUDGET_PASSED, {"of": "run", "limitUsd": 0.5, "spentUsd": 0.512},
         "The run's budget is used up $0.512 of $0.50"),
        (EventType.BUDGET_PASSED, {"of": "organization", "limitUsd": 5, "spentUsd": 5.1},
         "The organization's budget of the month is used up $5.10 of $5.00"),
        (EventType.NETWORK_POLICY, {"policy": {"allow": ["pkg.test"]}, "isEnforced": True},
         "May connect to the model, pkg.test"),
        (EventType.NETWORK_POLICY, {"policy": "none", "isEnforced": False},
         "The network policy is not enforced, as there is no sandbox; it would be: nothing at all"),
        (EventType.NETWORK_CONNECTED, {"host": "pkg.test", "port": 443, "address": "203.0.113.9"},
         "Connected to pkg.test:443 at 203.0.113.9"),
        (EventType.NETWORK_REFUSED, {"host": "a.example", "port": 22, "reason": "The policy does not name it."},
         "A connection was refused a.example:22: The policy does not name it."),
        (EventType.SANDBOX_LIMIT, {"text": "Memory."}, "A limit of the sandbox was hit Memory."),
        (EventType.GIT_SECRETS_FOUND, {"findings": [{"path": "a.env", "line": 3, "kind": "AWS access key"},
                                                    {"path": "b.bin", "line": None, "kind": "own"}], "count": 4},
         "Nothing was committed: this looks like secrets a.env:3  AWS access key\nb.bin  own\nand 2 more"),
        (EventType.GIT_SECRETS_FOUND, {"findings": [], "count": 0, "isAllowed": True},
         "Committed all the same, as the repository allows: this looks like secrets"),
        (EventType.ARTIFACT_KEPT, {"name": "a.patch", "size": 12}, "Kept a.patch, 12 bytes"),
        (EventType.WORKSPACE_RESTORED, {"steps": [1], "phase": "Analysis", "isConversationKept": True},
         "Taken up where it was left steps already done: 1, kept up to its Analysis, in the same conversation"),
    ],
)  # fmt: skip
def test_what_happened_is_told_in_words(type_: EventType, data: dict[str, Any], said: str) -> None:
    assert told(type_, **data) == said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    "text", "prompt", "output", "input", "tool", "id", "isError", "usage", "steps", "paths", "count", "sha", "status",
    "reason", "attempt", "delaySeconds", "url", "number", "name", "size", "durationMs", "exitCode", "clipped", "lease",
    "findings", "policy", "isEnforced", "isEstimated", "host", "port", "address", "costUsd", "limitUsd", "of", "line",
)  # fmt: skip


@given(st.sampled_from(EventType), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6))
def test_data_of_any_shape_are_shown(type_: EventType, data: dict[str, Any]) -> None:
    found = event(type_, data)
    assert 'id="e7"' in html(Trace().read(found))
    assert isinstance(text_of_event(found), str)


@given(st.dictionaries(st.sampled_from(
    ["command", "file_path", "path", "old_string", "new_string", "content", "edits", "edit", "todos", "x"]
), JSON, max_size=5) | JSON)  # fmt: skip
def test_an_input_of_any_shape_is_shown(given_input: Any) -> None:
    assert isinstance(summary(given_input), str)
    assert 'id="e7"' in html(item(EventType.TOOL_STARTED, id="a", tool="T", input=given_input))


@pytest.mark.parametrize(
    ("type_", "data", "tone"),
    [
        (EventType.MODEL_ANSWERED, {"status": 200}, "quiet"),
        (EventType.MODEL_ANSWERED, {"status": 429}, "warn"),
        (EventType.NETWORK_CONNECTED, {}, "quiet"),
        (EventType.NETWORK_REFUSED, {}, "warn"),
        (EventType.NETWORK_POLICY, {"isEnforced": False}, "warn"),
        (EventType.BUDGET_PASSED, {}, "bad"),
        (EventType.SANDBOX_LIMIT, {}, "bad"),
        (EventType.GIT_SECRETS_FOUND, {}, "bad"),
        (EventType.GIT_SECRETS_FOUND, {"isAllowed": True}, "warn"),
    ],
)
def test_what_matters_is_loud_and_what_is_usual_quiet(type_: EventType, data: dict[str, Any], tone: str) -> None:
    found = item(type_, **data)
    assert found.tone == tone
    assert f"tone-{tone}" in html(found)


HOSTILE = "<script>alert(1)</script>\u202egnp\x1b[31m\x00 </pre></li> {{ 7*7 }} \u2066"


@pytest.mark.parametrize("type_", EventType)
def test_hostile_text_is_text_everywhere(type_: EventType) -> None:
    names = ("text", "prompt", "output", "tool", "reason", "failureDetails", "branch", "sha", "name", "title", "worker")
    data: dict[str, Any] = dict.fromkeys((*names, "host", "address", "model", "policy", "of"), HOSTILE)
    data["findings"] = [{"path": HOSTILE, "line": HOSTILE, "kind": HOSTILE}]
    given = {HOSTILE: HOSTILE, "file_path": HOSTILE, "content": HOSTILE}
    shown = html(Trace().read(event(type_, {**data, "input": given, "url": "javascript:alert(1)", "id": "a"})))
    assert "<script" not in shown
    assert "javascript:" not in shown
    assert "49" not in shown
    for character in "\u202e\u2066\x00\x1b":
        assert character not in shown
    assert shown.count("<li") == shown.count("</li>") == 1


def test_a_line_of_a_megabyte_is_cut_and_the_whole_is_linked() -> None:
    shown = html(item(EventType.ENGINE_TEXT, text="x" * 1_000_000))
    assert len(shown) < 10_000
    assert 'href="/runs/1/events/7"' in shown
    assert "characters more" in shown


def test_a_call_is_one_item_of_its_start_and_its_end() -> None:
    trace = Trace()
    start = event(EventType.TOOL_STARTED, {"id": "a", "tool": "Bash", "input": {"command": "ls"}}, number=4)
    other = event(EventType.ENGINE_TEXT, {"text": "meanwhile"}, number=5)
    end = event(
        EventType.TOOL_FINISHED,
        {"id": "a", "output": "no such file", "isError": True, "clipped": 9},
        number=6,
        date=NOW + timedelta(seconds=3),
    )
    first, second = items(trace, [start, other, end])
    assert (first.number, second.number) == (4, 5)
    assert first.call is not None
    assert first.call.result is not None
    assert (first.call.result.number, first.call.result.seconds, first.clipped) == (6, 3.0, 9)
    shown = html(first)
    assert 'id="e4"' in shown
    assert 'id="e6"' in shown  # so that a link to either finds it
    assert "failed, 3.0 s" in shown


def test_an_id_that_comes_twice_belongs_to_the_start_before_it() -> None:
    trace = Trace()
    shown = items(
        trace,
        [
            event(EventType.TOOL_STARTED, {"id": "a", "tool": "Bash"}, number=1),
            event(EventType.TOOL_FINISHED, {"id": "a", "output": "one"}, number=2),
            event(EventType.TOOL_STARTED, {"id": "a", "tool": "Read"}, number=3),
            event(EventType.TOOL_FINISHED, {"id": "a", "output": "two"}, number=4),
            event(EventType.TOOL_FINISHED, {"id": "a", "output": "nobody's"}, number=5),
        ],
    )
    said = [(each.number, each.call.tool, each.call.result.output) for each in shown if each.call and each.call.result]
    assert said == [(1, "Bash", "one"), (3, "Read", "two"), (5, "A tool", "nobody's")]


def test_calls_that_never_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "MAX_OPEN_CALLS", 2)
    trace = Trace()
    for number in range(1, 4):
        trace.read(event(EventType.TOOL_STARTED, {"id": str(number), "tool": "T"}, number=number))
    assert trace.read(event(EventType.TOOL_FINISHED, {"id": "1"}, number=9)).number == 9
    assert trace.read(event(EventType.TOOL_FINISHED, {"id": "3"}, number=10)).number == 3


def test_an_answer_that_was_just_said_is_not_said_twice() -> None:
    trace = Trace()
    trace.read(event(EventType.ENGINE_TEXT, {"text": "All done."}))
    assert trace.read(event(EventType.PHASE_FINISHED, {"output": "All done.\n"})).body == ""
    assert trace.read(event(EventType.PHASE_FINISHED, {"output": "Something else"})).body == "Something else"


def test_a_run_that_fails_between_its_steps_says_why() -> None:
    data = {"status": "Failed", "failureDetails": "No disk."}
    assert Trace().read(event(EventType.RUN_FINISHED, data, step=None)).body == "No disk."


@pytest.mark.parametrize(
    ("given_input", "kinds"),
    [
        ({"command": "ls -l", "description": "Look"}, [BlockKind.COMMAND, BlockKind.FIELDS]),
        ({"command": ["git", "status"]}, [BlockKind.COMMAND]),
        ({"file_path": "a.py", "old_string": "a", "new_string": "b"}, [BlockKind.DIFF]),
        ({"path": "a.py", "edit": {"old": "a", "new": "b"}}, [BlockKind.DIFF]),
        ({"file_path": "a", "edits": [{"old_string": "a", "new_string": "b"}] * 2}, [BlockKind.DIFF] * 2),
        ({"file_path": "a", "edits": [{"old_string": "a"}]}, [BlockKind.FIELDS]),
        ({"path": "a.py", "content": "x = 1"}, [BlockKind.CODE]),
        ({"todos": [{"content": "one", "status": "completed"}]}, [BlockKind.TASKS]),
        ({"todos": ["one"]}, [BlockKind.FIELDS]),
        ({"pattern": "x", "deep": {"a": [1]}}, [BlockKind.FIELDS]),
        ("words", [BlockKind.TEXT]),
        ([1, 2], [BlockKind.JSON]),
        ({}, []),
        (None, []),
    ],
)
def test_inputs_are_shown_as_what_they_are(given_input: Any, kinds: list[BlockKind]) -> None:
    assert [block.kind for block in blocks(given_input)] == kinds


def test_parts_of_an_input_are_bounded() -> None:
    many = blocks({"file_path": "a", "edits": [{"old_string": "a", "new_string": "b"}] * 500})
    assert len(many) == MAX_PARTS + 1
    fields = blocks({f"field {number}": number for number in range(500)})
    assert len(fields[0].rows) == MAX_PARTS + 1


def test_a_small_diff_shows_what_changed_and_little_more() -> None:
    lines = [f"line {number}" for number in range(20)]
    rows = small_diff("\n".join(lines), "\n".join([*lines[:10], "new", *lines[11:]]))
    assert [row for row in rows if row[0] in "+-"] == [("-", "line 10"), ("+", "new")]
    assert len(rows) == 6
    long = small_diff("a\n" * (MAX_COMPARED_LINES + 1), "b")
    assert {sign for sign, _ in long[1:]} == {"-", "+"}
    assert (long[0][0], "Too many lines to compare" in long[0][1]) == ("…", True)


def test_of_a_long_text_only_what_is_between_the_lines_that_are_alike_is_compared() -> None:
    lines = [f"line {number}" for number in range(3 * MAX_COMPARED_LINES)]
    assert small_diff("\n".join(lines), "\n".join(lines)) == []
    for at in (0, 1, 500, len(lines) - 1):
        rows = small_diff("\n".join(lines), "\n".join([*lines[:at], "new", *lines[at + 1 :]]))
        assert [row for row in rows if row[0] != " "] == [("-", lines[at]), ("+", "new")]
        assert [line for sign, line in rows if sign == " "] == [*lines[max(at - 2, 0) : at], *lines[at + 1 : at + 3]]
    assert small_diff("a\na\nb", "a\nb") == [("-", "a"), (" ", "a"), (" ", "b")]
    changed = [*lines[:3], *(f"new {number}" for number in range(MAX_COMPARED_LINES + 1)), *lines[-3:]]
    rows = small_diff("\n".join(lines), "\n".join(changed))
    assert "Too many lines to compare" in rows[0][1]
    assert (rows[1], rows[-1]) == (("-", "line 3"), ("+", f"new {MAX_COMPARED_LINES}"))


def test_code_has_its_colours_and_stays_text() -> None:
    block = blocks({"path": "a.py", "content": "def f(): return '</pre>'\u202e"})[0]
    lines, gone = block.lines()
    assert (len(lines), gone) == (1, 0)
    assert '<span class="hk">def</span>' in lines[0]
    assert Markup(lines[0]).striptags() == "def f(): return '</pre>'U+202E"


def test_prose_is_set_lightly() -> None:
    parts = prose("# Title\nSome `code` and **weight**\n```py\nx < 1\n```\nthe end\n~~~\nopen")
    kinds = [PartKind.HEADING, PartKind.TEXT, PartKind.CODE, PartKind.TEXT, PartKind.CODE]
    assert [part.kind for part in parts] == kinds
    assert parts[1].html == "Some <code>code</code> and <strong>weight</strong>"
    assert parts[2].html == "x &lt; 1"
    assert parts[-1].html == "open"


@given(st.text(max_size=200))
def test_prose_loses_no_word(text: str) -> None:
    kept = "".join(part.html.striptags() for part in prose(text.replace("<", "").replace("&", "")))
    for word in text.split():
        if word.isalnum() and word.isascii():
            assert word in kept or "`" in text or "~" in text


@pytest.mark.parametrize(
    ("url", "is_linked"),
    [
        ("https://forge.example/acme/shop/pull/7", True),
        ("http://forge.example/x", True),
        ("javascript:alert(1)", False),
        ("https://", False),
        ("https://a\n.example", False),
        ("http://[", False),
    ],
)
def test_only_pages_are_linked_to(url: str, is_linked: bool) -> None:
    assert (outside(url) is not None) is is_linked
