"""What setup commands say, while somebody stops the run."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import pytest

from treadle.domain.events import Draft
from treadle.runner.setup_output import SetupOutput
from treadle.services.progress import Progress

pytestmark = pytest.mark.anyio


class Slow:
    """Of Progress, what is told here: it takes its time to be cancelled, as a database may."""

    def __init__(self) -> None:
        self.began, self.ending, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.told: list[str] = []

    def clean(self, text: str) -> str:
        return text.replace("secret-word", "***")

    async def note(self, *drafts: Draft) -> None:
        self.told += [str(draft.data["text"]) for draft in drafts]
        self.began.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.ending.set()
            await self.may_end.wait()
            raise


def output_to(progress: Slow) -> SetupOutput:
    return SetupOutput(cast("Progress", progress))


async def within(output: SetupOutput, work: Callable[[], Awaitable[object]]) -> None:
    async with output.follow():
        await work()


async def test_a_stop_is_heard_while_the_last_lines_are_told() -> None:
    progress = Slow()
    output = output_to(progress)
    output.feed(b"one\n")
    following = asyncio.create_task(within(output, progress.began.wait))
    await asyncio.wait_for(progress.ending.wait(), 30)  # the commands have ended
    following.cancel()
    progress.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(following, 30)


@pytest.mark.parametrize("before", [8192 - 4, 100])
async def test_no_cut_makes_a_secret_unknown(before: int) -> None:
    """Events are cut at so many characters from their beginning, the end of it all at so many from its end."""
    progress = Slow()
    progress.may_end.set()
    output = output_to(progress)
    text = "x" * before + "secret-word" + "y" * (8192 - 4)
    output.feed(text.encode())
    await within(output, _nothing)
    told = "".join(progress.told)
    assert "***" in told
    for part in (*progress.told, output.end):
        assert "secr" not in part
        assert "word" not in part


@pytest.mark.parametrize("before", ["line\n" * 2000, "word " * 2000, "x" * 9000])
async def test_no_batch_ends_within_a_secret(before: str) -> None:
    """A command may be read in the midst of one."""
    progress = Slow()
    progress.may_end.set()
    output = output_to(progress)

    async def said_in_two_parts() -> None:
        output.feed(f"{before}secret-".encode())
        with suppress(TimeoutError):
            await asyncio.wait_for(progress.began.wait(), 0.7)  # a batch is told, if any is
        output.feed(b"word\n")

    await within(output, said_in_two_parts)
    assert "secret" not in "".join(progress.told)
    assert "***" in "".join(progress.told)


async def _nothing() -> None:
    """The commands say all at once."""
