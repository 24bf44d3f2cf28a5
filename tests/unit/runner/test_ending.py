"""What a run that broke off is told to have ended of."""

import asyncio
import errno

import pytest

from treadle.domain.errors import GitError
from treadle.runner.execute import _ending_of
from treadle.runner.leaving import End

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/path"), "The disk of the worker is full."),
        (OSError(errno.EIO, "Input/output error"), "Treadle itself failed"),
        (GitError("Git said no."), "Git said no."),
    ],
    ids=["full disk", "defect", "Git"],
)
async def test_it_is_said_in_a_sentence(error: Exception, said: str) -> None:
    async def break_off() -> None:
        raise error

    task = asyncio.create_task(break_off())
    await asyncio.wait({task})
    ending = _ending_of(task)
    assert ending.end is End.FAILED
    assert ending.details is not None
    assert ending.details.startswith(said)
    assert "/a/path" not in ending.details
