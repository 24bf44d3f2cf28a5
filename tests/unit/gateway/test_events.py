"""Server-sent events and counts, however the bytes are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from tests.support.model_script import ModelRequest, Thinking, bash, say
from tests.support.model_wire import Anthropic as AnthropicWire
from tests.support.model_wire import OpenAI as OpenAIWire

from treadle.domain.prices import Tokens
from treadle.gateway import counting, events
from treadle.gateway.anthropic import Anthropic
from treadle.gateway.counting import MAX_TOKENS, Meter, as_count, estimate
from treadle.gateway.events import Events
from treadle.gateway.openai import OpenAI

REQUEST = ModelRequest("POST", "/v1/messages", {}, {"model": "m", "stream": True})
ASKED = Tokens(10)
TURN = say(Thinking("hm é"), "text", bash("ls"), input_tokens=50, output_tokens=9, cache_read_tokens=7)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(
    texts=st.lists(st.binary(max_size=30).filter(lambda text: b"\n" not in text and b"\r" not in text), max_size=6),
    end=st.sampled_from([b"\n", b"\r\n"]),
    places=st.lists(st.integers(min_value=0, max_value=500)),
)
def test_every_cut_gives_the_same_events(texts: list[bytes], end: bytes, places: list[int]) -> None:
    stream = b"".join(b": note%bevent: x%bdata: %b%b%b" % (end, end, text, end, end) for text in texts)
    found = Events()
    assert [event for part in cut(stream, places) for event in found.feed(part)] == texts
    assert found.overlong == 0


@given(places=st.lists(st.integers(min_value=0, max_value=3000)))
def test_every_cut_gives_the_same_count(places: list[int]) -> None:
    anthropic, openai = Anthropic().meter(ASKED, is_stream=True), OpenAI().meter(ASKED, is_stream=True)
    for part in cut(b"".join(AnthropicWire().stream(TURN, REQUEST)), places):
        anthropic.feed(part)
    for part in cut(b"".join(OpenAIWire().stream(TURN, REQUEST)), places):
        openai.feed(part)
    assert anthropic.is_complete
    assert openai.is_complete
    assert anthropic.count().tokens == Tokens(50, 9, 7)
    assert openai.count().tokens == Tokens(43, 9, 7)
    assert not anthropic.count().is_estimated or openai.count().is_estimated
    assert anthropic.count().model == openai.count().model == "m"


@given(end=st.integers(min_value=0, max_value=3000))
def test_a_stream_that_breaks_off_is_never_free_and_never_said_to_be_counted(end: int) -> None:
    for wire, dialect in ((AnthropicWire(), Anthropic()), (OpenAIWire(), OpenAI())):
        whole = b"".join(wire.stream(TURN, REQUEST))
        meter = dialect.meter(ASKED, is_stream=True)
        meter.feed(whole[: min(end, len(whole) // 2)])
        count = meter.count()
        assert count.is_estimated
        assert count.tokens.all_input >= 10


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_bytes_break_it(chunks: list[bytes]) -> None:
    for is_stream in (True, False):
        for dialect in (Anthropic(), OpenAI()):
            meter = dialect.meter(ASKED, is_stream=is_stream)
            for chunk in (*chunks, b'data: {"usage": []}\n\n', b'data: {"type": "message_start", "message": 7}\n\n'):
                meter.feed(chunk)
            assert meter.count().tokens.all_input > 0


def test_a_line_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_LINE_BYTES", 100)
    found = Events()
    parts = [b"data: " + b"x" * 90, b"y" * 90, b"z" * 1000, b"\n\ndata: next\n\n"]
    assert [event for part in parts for event in found.feed(part)] == [b"next"]
    assert found.overlong == 6 + 90 + 90 + 1000
    assert list(found.feed(b"".join(b"data: %b\n" % (b"a" * 60) for _ in range(5)) + b"\n")) == [b"a" * 60]


def test_an_answer_in_one_piece_that_is_too_large_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_WHOLE_BYTES", 100)
    answer = b'{"usage": {"input_tokens": 5, "output_tokens": 6}, "text": "%b"}' % (b"x" * 60)
    small, large = (Anthropic().meter(ASKED, is_stream=False) for _ in range(2))
    small.feed(answer.replace(b"x", b""))
    large.feed(answer)
    assert small.count().tokens == Tokens(5, 6)
    assert (large.count().tokens, large.count().is_estimated) == (Tokens(10, estimate(len(answer))), True)


def test_later_counts_win_and_none_is_no_count() -> None:
    meter = Anthropic().meter(ASKED, is_stream=True)
    first: JsonValue = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 3}
    later: JsonValue = {"input_tokens": 8, "output_tokens": 70, "cache_read_input_tokens": None}
    for event in (
        {"type": "message_start", "message": {"model": "claude-x", "usage": first}},
        {"type": "message_delta", "usage": {"output_tokens": 30}},
        {"type": "message_delta", "usage": later},
    ):
        meter.feed(b"data: %b\n\n" % json.dumps(event).encode())
    assert meter.count().tokens == Tokens(8, 70, 3)
    assert not meter.is_complete
    meter.feed(b'data: {"type": "message_stop"}\n\n')
    assert meter.is_complete


def test_what_the_vendor_of_kimi_says_in_its_last_choice() -> None:
    meter = OpenAI().meter(ASKED, is_stream=True)
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}}
    meter.feed(b"data: %b\n\n" % json.dumps({"model": "kimi-k2", "choices": [{"delta": {}, "usage": usage}]}).encode())
    assert meter.count().tokens == Tokens(4, 4, 6)


def fed(meter: Meter, *events: JsonValue) -> Meter:
    for event in events:
        meter.feed(b"data: %b\n\n" % json.dumps(event).encode())
    return meter


TEXT: JsonValue = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "é😀x"}}


def test_what_came_after_the_last_count_counts_by_its_bytes() -> None:
    """A text has no more tokens than bytes: whatever it is, nothing of it is missed."""
    meter = fed(Anthropic().meter(ASKED, is_stream=True), {"type": "message_delta", "usage": {"output_tokens": 5}})
    assert (meter.count().tokens.output, meter.count().is_estimated) == (5, False)
    fed(meter, TEXT, {"type": "message_stop"})
    assert (meter.count().tokens.output, meter.count().is_estimated) == (2 + 4 + 1, True)
    assert not meter.is_complete


def test_a_count_in_each_piece_is_not_the_last_one() -> None:
    usage: JsonValue = {"prompt_tokens": 10, "completion_tokens": 1}
    piece: JsonValue = {"choices": [{"delta": {"content": "é😀x"}}], "usage": usage}
    meter = fed(OpenAI().meter(ASKED, is_stream=True), piece, piece)
    assert (meter.count().tokens, meter.count().is_estimated) == (Tokens(10, 14), True)
    meter.feed(b"data: [DONE]\n\n")
    assert (meter.count().tokens, meter.count().is_estimated, meter.is_complete) == (Tokens(10, 1), False, True)


def test_searches_of_an_answer_that_broke_off_are_those_that_were_seen() -> None:
    search: JsonValue = {"type": "content_block_start", "content_block": {"type": "server_tool_use", "id": "1"}}
    assert fed(Anthropic().meter(ASKED, is_stream=True), search, search).count().tokens.tool_requests == 2
    call: JsonValue = {"choices": [{"delta": {"tool_calls": [{"function": {"name": "$web_search"}}, 7, {}]}}]}
    assert fed(OpenAI().meter(ASKED, is_stream=True), call, call).count().tokens.tool_requests == 2


def test_what_was_made_of_the_conversation_first_counts_too() -> None:
    """The sums leave it out; where they have it, it is not counted twice."""
    first = {"type": "compaction", "input_tokens": 1000, "output_tokens": 300, "cache_creation_input_tokens": 5}
    then = {"type": "message", "input_tokens": 20, "output_tokens": 9}
    for sums in ((20, 9), (1020, 309)):
        usage = {"input_tokens": sums[0], "output_tokens": sums[1], "iterations": [first, then, 7]}
        meter = Anthropic().meter(ASKED, is_stream=False)
        meter.feed(json.dumps({"usage": usage}).encode())
        assert meter.count().tokens == Tokens(1020, 309, 0, 5)


@pytest.mark.parametrize("broken", [7, [], None, {"ephemeral_1h_input_tokens": "5", "web_search_requests": [1]}])
def test_details_that_are_none(broken: JsonValue) -> None:
    usage = {"input_tokens": 1, "cache_creation": broken, "server_tool_use": broken, "iterations": broken}
    meter = Anthropic().meter(ASKED, is_stream=False)
    meter.feed(json.dumps({"usage": usage}).encode())
    assert meter.count().tokens == Tokens(1)


@pytest.mark.parametrize("value", [-1, True, "5", None, 1.5, [], {}])
def test_what_is_no_count(value: JsonValue) -> None:
    assert as_count(value) == 0
    assert as_count(10**30) == MAX_TOKENS
