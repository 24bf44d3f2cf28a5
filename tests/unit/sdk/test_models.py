"""What is read, also from servers that are newer than the SDK."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scripted_api import event_json, file_json, process_json

from treadle.sdk import CodeDiff, Event, LineType, Process, ProcessStatus, StepStatus, StoredFile
from treadle.sdk._sse import Message, SseDecoder
from treadle.sdk._wire import WireError


@pytest.mark.parametrize(
    ("status", "is_finished", "succeeded"),
    [
        ("New", False, False),
        ("Running", False, False),
        ("Success", True, True),
        ("Failed", True, False),
        ("Killed", True, False),
    ],
)
def test_what_a_status_means(status: str, is_finished: bool, succeeded: bool) -> None:
    process = Process.read(process_json(status))
    assert (process.is_finished, process.succeeded) == (is_finished, succeeded)
    assert process.status in ProcessStatus


def test_a_newer_server_breaks_nothing() -> None:
    data = process_json("Paused", engine="Hal", somethingNew={"a": 1})
    data["steps"][0] |= {"status": "Skipped", "phase": "Review", "alsoNew": []}
    process = Process.read(data)
    assert process.status == "Paused"
    assert process.status.value == "Paused"
    assert isinstance(process.status, ProcessStatus)
    assert process.status not in list(ProcessStatus)
    assert not process.is_finished
    assert Process.read(data | {"dateCompleted": "2026-01-02T03:04:06Z"}).is_finished
    assert process.engine == "Hal"
    assert process.steps[0].phase == "Review"
    assert process.raw["somethingNew"] == {"a": 1}
    assert {ProcessStatus("Paused"): 1}[ProcessStatus("Paused")] == 1
    assert repr(ProcessStatus("Paused"))
    assert f"{ProcessStatus('Paused')}" == "Paused"


def test_an_older_server_breaks_nothing_either() -> None:
    data = process_json()
    few = {name: data[name] for name in ("id", "status", "gitUrl", "branchSource", "branchWork", "engine")}
    process = Process.read(few)
    assert (process.steps, process.file_ids, process.diff, process.date_created) == ((), (), None, None)
    assert process.usage.input_tokens == 0


def test_the_failed_step_is_found() -> None:
    data = process_json("Failed")
    data["steps"].append(data["steps"][0] | {"status": "Failed", "failureDetails": "It broke."})
    failed = Process.read(data).failed_step
    assert failed is not None
    assert (failed.status, failed.failure_details) == (StepStatus.FAILED, "It broke.")
    assert Process.read(process_json("Success")).failed_step is None


def test_a_silent_worker_is_stale() -> None:
    process = Process.read(process_json())
    ping = process.date_runner_ping
    assert ping == datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
    assert not process.is_stale(ping + timedelta(minutes=5))
    assert process.is_stale(ping + timedelta(minutes=5, seconds=1))
    assert process.is_stale(ping + timedelta(seconds=2), after=timedelta(seconds=1))
    assert not Process.read(process_json("New")).is_stale(ping + timedelta(days=1))
    assert not Process.read(process_json(dateRunnerPing=None)).is_stale(ping)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1234567Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_dates_have_a_time_zone(text: str, expected: datetime) -> None:
    date = Process.read(process_json(dateCreated=text)).date_created
    assert date == expected
    assert date.tzinfo is not None


def test_models_are_values() -> None:
    assert Process.read(process_json()) == Process.read(process_json())
    assert StoredFile.read(file_json()) == StoredFile.read(file_json())
    assert Event.read(event_json(1)) != Event.read(event_json(2))
    with pytest.raises(AttributeError):
        Process.read(process_json()).status = ProcessStatus.NEW  # type: ignore[misc]  # that is what is tested


def test_a_repr_fits_a_line_of_a_log() -> None:
    process = Process.read(process_json(diff={"files": [{"filename": "x" * 10_000}]}, codeGuidelines="y" * 10_000))
    assert len(repr(process)) < 2000


DIFF: dict[str, Any] = {
    "files": [
        {
            "filename": "b.txt",
            "oldFilename": "a.txt",
            "isNew": False,
            "isDeleted": False,
            "isRenamed": True,
            "isBinary": False,
            "changes": [
                {
                    "header": "@@ -1,2 +1,2 @@",
                    "diff": [
                        {"type": "Context", "content": "one", "oldLine": 1, "newLine": 1, "noNewlineAtEnd": False},
                        {"type": "Removed", "content": "two", "oldLine": 2, "newLine": None, "noNewlineAtEnd": False},
                        {"type": "Added", "content": "2", "oldLine": None, "newLine": 2, "noNewlineAtEnd": True},
                    ],
                }
            ],
        },
        {"filename": "logo.png", "isNew": True, "isBinary": True},
    ]
}


def test_the_diff_is_structured() -> None:
    diff = Process.read(process_json("Success", diff=DIFF)).diff
    assert diff is not None
    renamed, added = diff.files
    assert (renamed.filename, renamed.old_filename, renamed.is_renamed) == ("b.txt", "a.txt", True)
    assert (renamed.additions, renamed.deletions) == (1, 1)
    [change] = renamed.changes
    assert change.header == "@@ -1,2 +1,2 @@"
    assert [(line.type, line.content, line.old_line, line.new_line) for line in change.diff] == [
        (LineType.CONTEXT, "one", 1, 1),
        (LineType.REMOVED, "two", 2, None),
        (LineType.ADDED, "2", None, 2),
    ]
    assert change.diff[2].no_newline_at_end
    assert (added.is_new, added.is_binary, added.changes, added.additions) == (True, True, (), 0)
    assert diff == CodeDiff(DIFF)


def test_the_diff_is_read_only_as_far_as_it_is_looked_at() -> None:
    diff = CodeDiff({"files": [{"filename": "a", "changes": [{"diff": [{"type": "Added"}]}]}]})
    [file] = diff.files
    assert file.additions == 1
    [change] = file.changes
    with pytest.raises(WireError, match=r"diff\.files\[0\]\.changes\[0\]\.diff\[0\]\.content"):
        _ = change.diff
    assert file.changes is file.changes  # made once


messages = st.lists(
    st.builds(
        Message,
        id=st.integers(1, 99).map(str),
        event=st.sampled_from(["message", "engine.text"]),
        data=st.text(st.characters(exclude_characters="\r", codec="utf-8"), min_size=1, max_size=20),
    ),
    max_size=5,
)


@given(sent=messages, end=st.sampled_from(["\n", "\r\n", "\r"]), data=st.data())
def test_messages_survive_any_cut_and_any_line_end(sent: list[Message], end: str, data: st.DataObject) -> None:
    text = ""
    for message in sent:
        lines = [f"id: {message.id}", f"event: {message.event}", ": comment", "unknown", "retry: 5"]
        lines += [f"data: {line}" for line in message.data.split("\n")]
        text += end.join([*lines, "", ""])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    decoder = SseDecoder()
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = [message for piece in pieces for message in decoder.feed(piece)]
    assert found == sent


def test_the_last_id_stays_and_half_a_message_is_none() -> None:
    decoder = SseDecoder()
    assert decoder.feed("id: 4\n\ndata: a\n\ndata:b\ndata") == [Message("4", "message", "a")]
    assert decoder.feed("\n\n") == [Message("4", "message", "b\n")]
    assert decoder.feed("event: x\n\n") == []


def test_a_message_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sdk._sse.MAX_CHARACTERS", 1000)
    decoder = SseDecoder()
    for _ in range(2000):
        decoder.feed(": heartbeat\n\n")  # these end
    for _ in range(10):
        decoder.feed("data: " + "x" * 50 + "\n")
    with pytest.raises(ValueError, match="does not end"):
        decoder.feed("data: " + "x" * 500 + "\n")


def test_ids_are_uuids() -> None:
    assert isinstance(Process.read(process_json()).steps[0].id, UUID)
