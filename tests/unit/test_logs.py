"""Log lines: their format, their context, and what they may not show."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
import structlog

from treadle.logs import Redactor, configure, redacting, run_context
from treadle.settings import Settings

RUN = UUID(int=7)
SECRET = "canary-4f/+\"'\\\u00e9-token"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    for handler in root.handlers[:]:
        if handler not in before[0]:
            root.removeHandler(handler)
    root.setLevel(before[1])
    structlog.reset_defaults()


def start(stream: io.StringIO, **settings: str) -> None:
    configure(Settings.load({}, data_dir=Path("unused"), **settings), stream=stream)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_say_when_who_and_what(stream: io.StringIO) -> None:
    start(stream)
    structlog.get_logger("treadle.test").info("it happened", count=3)
    [line] = lines(stream)
    assert line["event"] == "it happened"
    assert (line["level"], line["logger"], line["count"]) == ("info", "treadle.test", 3)
    assert str(line["timestamp"]).endswith("Z")


def test_libraries_lines_look_the_same(stream: io.StringIO) -> None:
    start(stream)
    with run_context(run=RUN):
        logging.getLogger("some.library").warning("careful with %s", "this")
    [line] = lines(stream)
    assert (line["event"], line["level"], line["run"]) == ("careful with this", "warning", str(RUN))


@pytest.mark.anyio
async def test_run_and_step_are_on_every_line_and_only_there(stream: io.StringIO) -> None:
    start(stream)
    log = structlog.get_logger()

    async def inner() -> None:
        log.info("in a task")

    with run_context(run=RUN):
        with run_context(step=2):
            await asyncio.create_task(inner())
        log.info("between")
    log.info("outside")
    assert [(line.get("run"), line.get("step")) for line in lines(stream)] == [
        (str(RUN), 2),
        (str(RUN), None),
        (None, None),
    ]


def test_text_is_for_reading(stream: io.StringIO) -> None:
    start(stream, log_format="text")
    with run_context(step=1):
        structlog.get_logger("treadle.test").warning("watch out", path="a b")
    text = stream.getvalue()
    assert "watch out" in text
    assert "path='a b'" in text
    assert "step=1" in text
    assert "\x1b" not in text


def test_the_level_is_a_setting(stream: io.StringIO) -> None:
    start(stream, log_level="error")
    structlog.get_logger().warning("hidden")
    logging.getLogger("library").warning("hidden")
    structlog.get_logger().error("shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]


def test_configuring_twice_says_everything_once(stream: io.StringIO) -> None:
    start(stream)
    start(stream)
    structlog.get_logger().info("once")
    assert len(lines(stream)) == 1


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_line_carries_a_live_runs_secret(stream: io.StringIO, style: str) -> None:
    start(stream, log_format=style)
    log = structlog.get_logger("treadle.test")
    with redacting(Redactor([SECRET])):
        log.info("event " + SECRET)  # noqa: G003  # what a careless caller would write
        log.info("value", given=SECRET, nested={"a": [SECRET]}, raw=SECRET.encode(), **{SECRET: 1})
        logging.getLogger("library").warning("argument %r", SECRET)
        try:
            int(SECRET)
        except ValueError:
            log.exception("raised")
            logging.getLogger("library").exception("raised there too")
    text = stream.getvalue()
    assert "canary" not in text
    assert text.count("***") >= 8
    if style == "json":
        assert len(lines(stream)) == 5  # still JSON, all of them
    log.info(SECRET)
    assert "canary" in stream.getvalue()  # so it was the redactor that hid it


def test_each_run_takes_back_only_its_own(stream: io.StringIO) -> None:
    start(stream)
    log = structlog.get_logger()
    with ExitStack() as first:
        first.enter_context(redacting(Redactor(["first-secret"])))
        with redacting(Redactor(["second-secret"])):
            first.close()
            log.info("first-secret second-secret")
    assert [line["event"] for line in lines(stream)] == ["first-secret ***"]
