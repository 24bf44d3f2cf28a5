"""What the commands do with runs of a service."""

import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from treadle import AsyncClient, Process
from treadle.cli import output
from treadle.cli.failures import Stopped
from treadle.cli.follow import as_it_is, before_events, exit_code, follow, is_cut, show
from treadle.cli.interrupts import Interrupts
from treadle.cli.lines import ID_COLUMNS, ago, event_line, full_text, when
from treadle.cli.options import Wish
from treadle.cli.output import FAILED
from treadle.cli.patches import print_patch, stat_lines, stat_of
from treadle.cli.plans import PlanWish
from treadle.cli.plans import start as start_plan
from treadle.cli.remote import find, work_with
from treadle.cli.remote_head import FALLBACK
from treadle.cli.start import start
from treadle.cli.views import view_of
from treadle.domain.states import RunStatus

#: Longest time that a kill may take to be answered, in seconds.
KILL_SECONDS = 20.0

_CUT: Final = "The run's earlier events are not kept any more."


class Remote:
    """One command's dealings with a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def start(self, wish: Wish | PlanWish, *, wants_diff: bool, follows: bool) -> None:
        async def work(client: AsyncClient) -> None:
            if isinstance(wish, PlanWish):
                process = await start_plan(client, wish)
            else:
                process = await start(client, wish, source=wish.source or FALLBACK, wants_diff=wants_diff)
            if follows:
                await self._watch(client, process)
            elif self._is_json:
                output.as_json(dict(process.raw))
            else:
                output.line(str(process.id))
                output.note(f"Started. `treadle watch {str(process.id)[:ID_COLUMNS]}` follows it.")

        self._do(work)

    def list(self, status: RunStatus | None, limit: int) -> None:
        async def work(client: AsyncClient) -> None:
            processes = await client.processes.list(status=status, limit=limit)
            if self._is_json:
                output.as_json([dict(process.raw) for process in processes])
                return
            output.table(_HEAD, [_row(process) for process in processes])
            if not processes and output.is_terminal():
                output.note("There are none. `treadle start` starts one.")

        self._do(work)

    def show(self, beginning: str) -> None:
        async def work(client: AsyncClient) -> None:
            process = await find(client, beginning)
            if self._is_json:
                output.as_json(dict(process.raw))
            else:
                show(process)

        self._do(work)

    def watch(self, beginning: str) -> None:
        async def work(client: AsyncClient) -> None:
            await self._watch(client, await find(client, beginning))

        self._do(work)

    def logs(self, beginning: str, *, follows: bool, is_full: bool) -> None:
        async def work(client: AsyncClient) -> None:
            process = await find(client, beginning)
            async with aclosing(client.processes.events(process.id, follow=follows)) as events:
                is_first = True
                async for event in events:
                    if is_first and event.number > 1:
                        output.note(_CUT)
                    is_first = False
                    if self._is_json:
                        output.as_json(dict(event.raw), indent=False)
                        continue
                    output.line(event_line(event, len(process.steps)))
                    for line in full_text(event) if is_full else ():
                        output.line(line)

        self._do(work)

    def diff(self, beginning: str, *, is_stat: bool, is_raw: bool) -> None:
        async def work(client: AsyncClient) -> None:
            process = await find(client, beginning)
            if is_raw:
                sys.stdout.buffer.write(await client.processes.patch(process.id))
                sys.stdout.buffer.flush()
            elif self._is_json:
                output.as_json(dict((await client.processes.diff(process.id)).raw))
            elif is_stat:
                for line in stat_lines(stat_of(await client.processes.diff(process.id)), output.width()):
                    output.line(line)
            else:
                print_patch(await client.processes.patch(process.id))

        self._do(work)

    def kill(self, beginning: str) -> None:
        async def work(client: AsyncClient) -> None:
            process = await find(client, beginning)
            await client.processes.kill(process.id)
            ended = await client.processes.wait(process.id, KILL_SECONDS, poll=0.5)
            if self._is_json:
                output.as_json(dict(ended.raw))
            else:
                output.line(f"{ended.id} {ended.status}")
            if str(ended.status) != RunStatus.KILLED:
                output.note("It had ended before the kill reached it.")
                raise Stopped(FAILED)

        self._do(work)

    async def _watch(self, client: AsyncClient, process: Process) -> None:
        with Interrupts():
            run = before_events(process)
            if process.date_started is not None and await is_cut(client, process):
                output.note(_CUT)
                run = as_it_is(process)
            view = view_of(run, as_json=self._is_json, hint="Ctrl-C leaves the run going")
            try:
                run = await follow(client, process, view)
            finally:
                if not view.run.is_finished:
                    output.note(f"The run goes on. `treadle watch {str(process.id)[:ID_COLUMNS]}` follows it again.")
        if code := exit_code(run):
            raise Stopped(code)

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)


_HEAD = ("ID", "STATUS", "STEPS", "ENGINE", "BRANCH", "REPOSITORY", "CREATED")


def _row(process: Process) -> tuple[str, ...]:
    """On a terminal short, in a pipe whole."""
    run = as_it_is(process)
    is_short = output.is_terminal()
    return (
        run.id[:ID_COLUMNS] if is_short else run.id,
        run.status,
        f"{run.done}/{len(run.steps)}",
        run.engine,
        run.branch_work,
        run.repo,
        ago(run.created, datetime.now(UTC)) if is_short else when(run.created),
    )
