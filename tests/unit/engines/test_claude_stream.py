"""What the golden transcripts do not show: every error's meaning, reset times, calls without an answer."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from treadle.domain.errors import (
    EngineAuthenticationFailed,
    EngineError,
    EngineFailed,
    EngineNotInstalled,
    EngineRefused,
    StructuredOutputInvalid,
    UsageLimitReached,
)
from treadle.domain.events import MAX_TEXT, Draft, EventType
from treadle.domain.run import EngineName, Usage
from treadle.engines.claude_errors import reset_date
from treadle.engines.claude_stream import ClaudeReader
from treadle.ports import Outcome

ANSWER: dict[str, JsonValue] = {
    "output": "o",
    "thinking": "t",
    "wasSuccessful": True,
    "didGenerateCode": False,
    "isAdditionalWorkRequiredToContinue": True,
}


def reader(*, is_structured: bool = False, session: str | None = None) -> ClaudeReader:
    return ClaudeReader(EngineName.CLAUDE, is_structured=is_structured, session=session)


def feed(stream: ClaudeReader, *lines: JsonValue) -> list[Draft]:
    return [draft for line in lines for draft in stream.feed(json.dumps(line).encode())]


def finish(
    *lines: JsonValue, exit_code: int = 0, stderr: str = "", is_structured: bool = False, session: str | None = None
) -> Outcome:
    stream = reader(is_structured=is_structured, session=session)
    feed(stream, *lines)
    return stream.finish(exit_code, stderr)


def result(**more: JsonValue) -> JsonValue:
    return {"type": "result", "subtype": "success", "is_error": False, "result": "Done.", **more}


def failed(text: str, *, status: int = 0, kind: str = "unknown", **more: JsonValue) -> list[JsonValue]:
    said: JsonValue = {
        "type": "assistant",
        "error": kind,
        "timestamp": "2026-11-22T06:39:15.684Z",
        "message": {"content": [{"type": "text", "text": text}]},
    }
    return [said, result(is_error=True, result=text, api_error_status=status or None, **more)]


@pytest.mark.parametrize(
    ("lines", "kind", "words"),
    [
        (failed("Invalid API key", status=401), EngineAuthenticationFailed, "Invalid API key"),
        (failed("API Error: 403 no", status=403), EngineAuthenticationFailed, "API status 403"),
        (failed("Not logged in · Please run /login"), EngineAuthenticationFailed, "Not logged in"),
        (failed("x", kind="authentication_failed"), EngineAuthenticationFailed, "x"),
        (failed("Credit balance is too low", status=400, kind="billing_error"), EngineRefused, "Credit balance"),
        (failed("API Error: 400 bad", status=400), EngineRefused, "400"),
        (failed("no such model", status=404, kind="model_not_found"), EngineRefused, "no such model"),
        (failed("Request too large", status=413), EngineRefused, "too large"),
        (failed("slow down", status=429, kind="rate_limit"), EngineFailed, "slow down"),
        (failed("rate limit reached", status=429, kind="rate_limit"), EngineFailed, "rate limit"),
        (failed("oops", status=500, kind="server_error"), EngineFailed, "oops"),
        (failed("overloaded", status=529, kind="server_error"), EngineFailed, "overloaded"),
        (failed("", status=0), EngineFailed, "no reason"),
        ([result(is_error=True, subtype="error_max_turns", result="")], EngineRefused, "error_max_turns"),
        ([result(is_error=True, subtype="error_during_execution", result="", errors=["a", "b"])], EngineFailed, "a; b"),
        ([result(is_error="no")], EngineFailed, "Done"),
        ([result(permission_denials=[{"tool_name": "Bash"}, {"tool_name": "Bash"}])], EngineRefused, "use of Bash."),
        (failed("Your limit", status=429, api_error="usage_limit_reached"), UsageLimitReached, "Your limit"),
        (failed("Claude AI usage limit reached|1749924000"), UsageLimitReached, "2025-06-14 18:00 UTC"),
        (failed("5-hour limit reached ∙ resets 3pm"), UsageLimitReached, "2026-11-22 15:00 UTC"),
        (failed("You've hit your weekly limit · resets Nov 24, 6:39pm (UTC)"), UsageLimitReached, "2026-11-24 18:39"),
    ],
)
def test_what_a_failure_means(lines: list[JsonValue], kind: type[EngineError], words: str) -> None:
    outcome = finish(*lines, exit_code=1)
    assert type(outcome.error) is kind
    assert words in outcome.error.message
    assert outcome.output is None


def test_a_rejected_limit_counts_when_the_call_fails_and_not_when_it_succeeds() -> None:
    rejected: JsonValue = {
        "type": "rate_limit_event",
        "rate_limit_info": {"status": "rejected", "resetsAt": 1_795_336_754, "rateLimitType": "five_hour"},
    }
    allowed: JsonValue = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}}
    error = finish(rejected, *failed("slow down", status=429, kind="rate_limit"), exit_code=1).error
    assert isinstance(error, UsageLimitReached)
    assert error.resets_at == datetime(2026, 11, 22, 8, 39, 14, tzinfo=UTC)
    assert type(finish(rejected, allowed, *failed("no", status=429, kind="rate_limit")).error) is EngineFailed
    assert type(finish(rejected, *failed("oops", status=500, kind="server_error")).error) is EngineFailed
    assert finish(rejected, result()).error is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resets 8:39am (UTC)", "2026-11-22T08:39"),
        ("resets 6am (UTC)", "2026-11-23T06:00"),
        ("resets 12am", "2026-11-23T00:00"),
        ("resets 12pm", "2026-11-22T12:00"),
        ("resets at 3pm (Europe/Berlin)", "2026-11-22T14:00"),
        ("resets Nov 24, 6:39pm (UTC)", "2026-11-24T18:39"),
        ("resets Jan 2 at 1am (America/New_York)", "2027-01-02T06:00"),
        ("limit reached|1749924000", "2025-06-14T18:00"),
        ("limit reached|1749924000123", "2025-06-14T18:00"),
    ],
)
def test_reset_times(text: str, expected: str) -> None:
    said_at = datetime(2026, 11, 22, 6, 39, 15, tzinfo=UTC)
    assert reset_date(text, said_at) == datetime.fromisoformat(f"{expected}:00Z")


@pytest.mark.parametrize(
    "text", ["resets soon", "resets 25pm", "resets Foo 3, 1pm", "resets Feb 30, 1pm", "resets 3pm (Mars/X)"]
)
def test_what_is_no_reset_time(text: str) -> None:
    assert reset_date(text, datetime(2026, 11, 22, tzinfo=UTC)) is None


def test_a_time_of_day_means_nothing_without_a_date() -> None:
    assert reset_date("resets 3pm (UTC)", None) is None


# ---- without an answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_code", "stderr", "kind", "words"),
    [
        (1, "warning: x\nerror: something broke\n", EngineFailed, "error: something broke."),
        (1, "error: unknown option '--nonsense'", EngineRefused, "--nonsense"),
        (1, "--dangerously-skip-permissions cannot be used with root/sudo privileges", EngineRefused, "root"),
        (1, "OAuth token has expired", EngineAuthenticationFailed, "OAuth"),
        (127, "/x/claude: No such file or directory", EngineNotInstalled, "/x/claude"),
        (126, "", EngineNotInstalled, "exit code 126"),
        (-9, "", EngineFailed, "SIGKILL"),
        (143, "", EngineFailed, "SIGTERM"),
        (0, "", EngineFailed, "exit code 0"),
    ],
)
def test_an_end_without_an_answer(exit_code: int, stderr: str, kind: type[EngineError], words: str) -> None:
    outcome = finish(exit_code=exit_code, stderr=stderr)
    assert type(outcome.error) is kind
    assert words in outcome.error.message


def test_output_that_is_no_stream_explains_an_end() -> None:
    stream = reader()
    (notice,) = stream.feed(b"Segmentation \xff fault\r")
    assert notice == Draft(EventType.ENGINE_NOTICE, {"text": "Segmentation \N{REPLACEMENT CHARACTER} fault"})
    assert stream.feed(b"  ") == []
    error = stream.finish(1, "").error
    assert error is not None
    assert "Segmentation" in error.message


def test_what_was_spent_before_the_end_is_counted_once_a_message() -> None:
    def message(name: str, *, read: int, written: int) -> JsonValue:
        usage: JsonValue = {
            "input_tokens": read,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 1,
            "output_tokens": written,
        }
        return {"type": "assistant", "message": {"id": name, "content": [], "usage": usage}}

    lines = [message("a", read=100, written=1), message("a", read=100, written=7), message("b", read=200, written=2)]
    assert finish(*lines, exit_code=-9).usage == Usage(input_tokens=322, output_tokens=9)


# ---- with an answer --------------------------------------------------------------------------------------------------


def test_an_answer_counts_although_the_process_had_to_be_ended() -> None:
    stream = reader()
    finals = [stream.is_final]
    feed(stream, result(), result(result="Another."))
    finals.append(stream.is_final)
    assert finals == [False, True]
    for exit_code in (0, -15, -9, 143, 137):
        outcome = stream.finish(exit_code, "")
        assert (outcome.output, outcome.error) == ("Done.", None)
    assert type(stream.finish(1, "").error) is EngineFailed


def test_the_last_words_stand_in_for_an_empty_result() -> None:
    said: JsonValue = {"type": "assistant", "message": {"content": [{"type": "text", "text": "It is so."}]}}
    aside: JsonValue = {
        "type": "assistant",
        "parent_tool_use_id": "t",
        "message": {"content": [{"type": "text", "text": "A helper's."}]},
    }
    assert finish(said, aside, result(result="")).output == "It is so."


def test_a_structured_answer_must_be_whole() -> None:
    assert finish(result(structured_output=ANSWER), is_structured=True).output == "o"
    faults: list[dict[str, JsonValue]] = [
        {},
        {"structured_output": None},
        {"structured_output": {**ANSWER, "wasSuccessful": "yes"}},
        {"structured_output": {**ANSWER, "more": 1}},
    ]
    for fault in faults:
        error = finish(result(**fault), is_structured=True).error
        assert isinstance(error, StructuredOutputInvalid)
        assert error.is_retryable
    assert finish(result(), is_structured=False).error is None


def test_the_bill_is_this_call_s() -> None:
    models: JsonValue = {
        "big": {"inputTokens": 5, "cacheReadInputTokens": 3, "outputTokens": 2, "costUSD": 0.5},
        "small": {"inputTokens": 1, "cacheCreationInputTokens": 1, "outputTokens": 1, "costUSD": 0.25},
    }
    assert finish(
        result(model_usage_since_last_result=models, total_cost_usd=99, usage={"input_tokens": 99}, duration_ms=7)
    ).usage == Usage(10, 3, 0.75, 7)
    older = result(total_cost_usd=1.5, usage={"input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 4})
    assert finish(older).usage == Usage(5, 4, 1.5)
    absurd = result(total_cost_usd=1e300, usage={"input_tokens": 10**30, "output_tokens": -1})
    assert finish(absurd).usage == Usage(10**12, 0, 10.0**6)


def test_the_conversation_s_name() -> None:
    assert finish(result(), session="before").session == "before"
    assert finish({"type": "system", "subtype": "init", "session_id": "now"}, session="before").session == "now"
    for name in ("../x", "a b", "", "-rf", "x" * 200):
        assert finish(result(session_id=name), session="before").session == "before"


def test_long_texts_are_clipped() -> None:
    blocks: JsonValue = [{"type": "text", "text": "x" * (MAX_TEXT + 5)}]
    (draft,) = feed(reader(), {"type": "assistant", "message": {"content": blocks}})
    assert draft == Draft(EventType.ENGINE_TEXT, {"text": "x" * MAX_TEXT, "clipped": 5})
