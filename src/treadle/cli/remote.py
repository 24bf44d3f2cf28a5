"""A service elsewhere: the client, and finding a run by the beginning of its id."""

import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import httpx2

from treadle import AsyncClient, Process
from treadle.cli import interrupts
from treadle.cli.options import service_key
from treadle.domain.errors import ConfigurationError, NotFound

#: How many runs are looked through for one whose id begins so, newest first.
SEARCHED: Final = 1000

_BEGINNING: Final = re.compile(r"[0-9a-f-]{1,36}", re.IGNORECASE)


@asynccontextmanager
async def connected(url: str, key: str | None) -> AsyncIterator[AsyncClient]:
    """Raises ConfigurationError for an address or a key that can never work."""
    try:
        client = AsyncClient(url, service_key(key))
    except (ValueError, httpx2.InvalidURL) as error:
        raise ConfigurationError(str(error), hint="--url and --api-key, or TREADLE_URL and TREADLE_API_KEY.") from None
    async with client:
        yield client


def work_with(url: str, key: str | None, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
    """Does a command's work with a client of the service, until Ctrl-C. Raises as `connected`."""

    async def connect_and_work() -> None:
        async with connected(url, key) as client:
            await work(client)

    interrupts.run(connect_and_work())


async def find(client: AsyncClient, beginning: str) -> Process:
    """The run with that id, or the only one whose id begins so. Raises NotFound."""
    try:
        return await client.processes.get(UUID(beginning))
    except ValueError:
        pass
    if not _BEGINNING.fullmatch(beginning):
        raise NotFound(f"{beginning!r} is not the id of a run, nor the beginning of one.", hint=_HINT)
    processes = await client.processes.list(limit=SEARCHED)
    found = [process for process in processes if str(process.id).startswith(beginning.lower())]
    match found:
        case [one]:
            return await client.processes.get(one.id)
        case []:
            raise NotFound(f"None of your newest {SEARCHED:,} runs has an id that begins with {beginning}.", hint=_HINT)
        case _:
            ids = ", ".join(str(process.id) for process in found[:5])
            raise NotFound(
                f"{len(found)} runs have an id that begins with {beginning}: {ids}.", hint="Give more of it."
            )


_HINT: Final = "`treadle list` shows them."
