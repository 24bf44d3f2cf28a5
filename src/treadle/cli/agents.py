"""What the commands do with agent runs."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from treadle import AgentLog, AgentRun, AgentRunSource, AgentWaitTimeoutError, AsyncClient, TreadleApiError
from treadle.cli import output
from treadle.cli.agent_inputs import check_files, image_faults, number_of, pairs, prompt_of
from treadle.cli.agent_lines import (
    REPOSITORIES,
    RUNS,
    ending_lines,
    full_text,
    log_line,
    repository_row,
    run_lines,
    run_row,
)
from treadle.cli.agent_views import AgentView, view_of
from treadle.cli.event_data import first_line
from treadle.cli.failures import Stopped
from treadle.cli.interrupts import Interrupts
from treadle.cli.output import FAILED
from treadle.cli.remote import work_with
from treadle.cli.remote_runs import KILL_SECONDS
from treadle.cli.start import rules
from treadle.domain.validation import ValidationRules

#: Between two looks at the status of a run that is watched on a terminal.
_LOOK_SECONDS = 2.0


class Agents:
    """One command's dealings with the agent runs of an organization; None is the key's own."""

    def __init__(self, url: str, key: str | None, organization: int | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._organization = organization
        self._is_json = is_json

    def run(
        self,
        prompt: str,
        *,
        repository: int | None,
        images: Sequence[Path],
        model: str | None,
        agent_type: str | None,
        metadata: Sequence[str],
        max_cost_usd: float | None,
        network: str | None,
        waits: bool,
        validation: ValidationRules | None = None,
    ) -> None:
        given, text = pairs(metadata), prompt_of(prompt)
        check_files(images)

        async def work(client: AsyncClient) -> None:
            with image_faults():
                run = await client.agents.run(
                    text,
                    repository=repository,
                    images=images,
                    metadata=given or None,
                    model=model,
                    agent_type=agent_type,
                    max_cost_usd=max_cost_usd,
                    network=network,
                    validate=rules(validation),
                    organization=self._organization,
                )
            await self._go_on(client, run, text, 0, waits=waits)

        self._do(work)

    def resume(
        self, run_id: str, prompt: str, *, images: Sequence[Path], max_cost_usd: float | None, waits: bool
    ) -> None:
        number, text = number_of(run_id), prompt_of(prompt)
        check_files(images)

        async def work(client: AsyncClient) -> None:
            known = await client.agents.log_count(number, organization=self._organization)
            with image_faults():
                run = await client.agents.resume(
                    number, text, images=images, max_cost_usd=max_cost_usd, organization=self._organization
                )
            await self._go_on(client, run, text, known, waits=waits)

        self._do(work)

    def logs(self, run_id: str, *, follows: bool, is_reverse: bool, limit: int | None, is_full: bool) -> None:
        number = number_of(run_id)

        async def work(client: AsyncClient) -> None:
            found = client.agents.logs(number, reverse=is_reverse, follow=follows, organization=self._organization)
            shown = 0
            async with aclosing(found) as entries:
                async for entry in entries:
                    self._print(entry, is_full=is_full)
                    shown += 1
                    if shown == limit:
                        return

        self._do(work)

    def list(self, user: int | None, source: str | None, limit: int) -> None:
        async def work(client: AsyncClient) -> None:
            wanted = AgentRunSource(source.upper()) if source is not None else None
            found = client.agents.list(user=user, source=wanted, limit=limit, organization=self._organization)
            runs = [run async for run in found]
            if self._is_json:
                output.as_json([dict(run.raw) for run in runs])
                return
            output.table(RUNS, [run_row(run) for run in runs])
            if not runs and output.is_terminal():
                output.note("There are none. `treadle agent run` starts one.")

        self._do(work)

    def show(self, run_id: str) -> None:
        number = number_of(run_id)

        async def work(client: AsyncClient) -> None:
            run = await client.agents.get(number, organization=self._organization)
            if self._is_json:
                output.as_json(dict(run.raw))
                return
            for line in run_lines(run):
                output.line(line)

        self._do(work)

    def ban(self, run_id: str) -> None:
        number = number_of(run_id)

        async def work(client: AsyncClient) -> None:
            await client.agents.ban(number, organization=self._organization)
            try:
                run = await client.agents.wait(number, KILL_SECONDS, poll=0.5, organization=self._organization)
            except AgentWaitTimeoutError as late:
                self._tell(late.run)
                output.note("It is being stopped.")
                raise Stopped(FAILED) from None
            self._tell(run)

        self._do(work)

    def unban(self, run_id: str) -> None:
        number = number_of(run_id)

        async def work(client: AsyncClient) -> None:
            await client.agents.unban(number, organization=self._organization)
            self._tell(await client.agents.get(number, organization=self._organization))

        self._do(work)

    def repositories(self) -> None:
        async def work(client: AsyncClient) -> None:
            found = [each async for each in client.agents.repositories(organization=self._organization)]
            if self._is_json:
                output.as_json([dict(each.raw) for each in found])
                return
            output.table(REPOSITORIES, [repository_row(each) for each in found])
            if not found and output.is_terminal():
                output.note("There are none. `treadle admin repo add` registers one, on the service's machine.")

        self._do(work)

    async def _go_on(self, client: AsyncClient, run: AgentRun, prompt: str, known: int, *, waits: bool) -> None:
        """What follows a prompt: its end, or only its number. Entries up to `known` were there before."""
        if waits:
            await self._watch(client, run, prompt, known)
        elif self._is_json:
            output.as_json(dict(run.raw))
        else:
            output.line(str(run.id))
            output.note(f"Started. `treadle agent logs {run.id} --follow` follows it.")

    async def _watch(self, client: AsyncClient, run: AgentRun, prompt: str, known: int) -> None:
        ended: AgentRun | None = None
        with Interrupts():
            view = view_of(run, first_line(prompt), as_json=self._is_json)
            try:
                async with view:
                    ended = await self._follow(client, run.id, view, known)
            finally:
                if ended is None:
                    output.note(f"The run goes on. `treadle agent logs {run.id} --follow` follows it again.")
        if self._is_json:
            output.as_json(dict(ended.raw))
        else:
            for line in ending_lines(ended):
                output.line(line)
        if not ended.succeeded:
            raise Stopped(FAILED)

    async def _follow(self, client: AsyncClient, number: int, view: AgentView, known: int) -> AgentRun:
        """Shows every new entry until the last; the run as it ended."""
        looking = asyncio.create_task(self._look(client, number, view)) if view.wants_status else None
        try:
            found = client.agents.logs(number, skip=known, follow=True, organization=self._organization)
            async with aclosing(found) as entries:
                async for entry in entries:
                    view.show(entry)
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        run = await client.agents.wait(number, organization=self._organization)
        view.tell(run)
        return run

    async def _look(self, client: AsyncClient, number: int, view: AgentView) -> None:
        while True:
            with suppress(TreadleApiError):  # it is only for show: what matters is told by the log
                view.tell(await client.agents.get(number, organization=self._organization))
            await asyncio.sleep(_LOOK_SECONDS)

    def _print(self, entry: AgentLog, *, is_full: bool) -> None:
        if self._is_json:
            output.as_json(dict(entry.raw), indent=False)
            return
        output.line(log_line(entry))
        for line in full_text(entry) if is_full else ():
            output.line(line)

    def _tell(self, run: AgentRun) -> None:
        if self._is_json:
            output.as_json(dict(run.raw))
        else:
            output.line(f"{run.id} {run.status}")

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)
