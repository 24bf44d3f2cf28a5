"""A process of the API on the screen: from its first event to its last, or as it is now."""

from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime

from treadle import AsyncClient, Process, ProcessStep
from treadle.cli import output
from treadle.cli.event_data import Cost
from treadle.cli.lines import cost_text, duration, step_state, when
from treadle.cli.output import FAILED
from treadle.cli.progress import RunView, StepView, waiting_steps
from treadle.cli.text import neutral, one_line
from treadle.cli.views import View


async def follow(client: AsyncClient, process: Process, view: View) -> RunView:
    """Shows every event until the last; the run as it ended."""
    async with view, aclosing(client.processes.events(process.id)) as events:
        async for event in events:
            view.show(event)
    return view.run


async def is_cut(client: AsyncClient, process: Process) -> bool:
    """Whether its earlier events are not kept any more."""
    async with aclosing(client.processes.events(process.id, follow=False)) as events:
        first = await anext(events, None)
    return first is not None and first.number > 1


def exit_code(run: RunView) -> int:
    """0 for success only."""
    return 0 if run.status == "Success" else FAILED


def before_events(process: Process) -> RunView:
    """The run before any of its events, for a view that is told them all."""
    return RunView(
        id=str(process.id),
        repo=process.git_url,
        branch_source=process.branch_source,
        branch_work=process.branch_work,
        engine=str(process.engine),
        steps=waiting_steps([(step.step, step.is_commitable_step) for step in process.steps]),
        created=process.date_created,
    )


def as_it_is(process: Process) -> RunView:
    """The run as the API tells it, without its events."""
    return RunView(
        id=str(process.id),
        repo=process.git_url,
        branch_source=process.branch_source,
        branch_work=process.branch_work,
        engine=str(process.engine),
        steps=tuple(_step(position, step) for position, step in enumerate(process.steps, start=1)),
        status=str(process.status),
        activity="",
        failure=process.failure_details,
        created=process.date_created,
        started=process.date_started,
        ended=process.date_completed,
    )


def _step(position: int, step: ProcessStep) -> StepView:
    return StepView(
        position=position,
        text=step.step,
        is_commitable=step.is_commitable_step,
        status=str(step.status),
        phase=str(step.phase) if step.phase is not None else None,
        started=step.date_started,
        ended=step.date_completed,
        commit_sha=step.commit_sha,
        has_nothing_to_commit=step.is_commitable_step and step.status == "Success" and step.commit_sha is None,
        failure=step.failure_details,
        cost=Cost(step.usage.input_tokens, step.usage.output_tokens, step.usage.cost_usd),
    )


def show(process: Process) -> None:
    """Everything of it that a person wants to read."""
    for line in _lines(process):
        output.line(line)


def _lines(process: Process) -> Iterator[str]:
    run, now = as_it_is(process), datetime.now(UTC)
    took = run.seconds(now)
    facts = {
        "Run": run.id,
        "Status": run.status,
        "Repo": run.repo,
        "Branch": f"{run.branch_source} -> {run.branch_work}",
        "Engine": run.engine,
        "Created": when(process.date_created),
        "Took": duration(took) if took is not None else "",
        "Usage": cost_text(run.cost) if run.cost != Cost() else "",
        "Files": " ".join(str(file) for file in process.file_ids),
    }
    yield from (f"{name:<8}  {one_line(value)}" for name, value in facts.items() if value)
    if run.failure:
        yield from (f"{'Failure' if at == 0 else '':<8}  {line}" for at, line in enumerate(run.failure.splitlines()))
    for view, step in zip(run.steps, process.steps, strict=True):
        took = view.seconds(now)
        parts = [f"{view.position:>2}", f"{view.status:<10}", step_state(view), duration(took) if took else ""]
        yield ""
        yield "  ".join(part for part in parts if part.strip())
        yield from (f"    {line}" for line in neutral(step.step).strip().splitlines())
        for result in step.validation:
            ended = f"exit code {result.exit_code}" if result.exit_code is not None else f"ended, {result.reason}"
            took_it = duration(result.duration_ms / 1000)
            yield f"    validation {result.attempt}  {one_line(result.command)}: {ended}, {took_it}"
        for said in (step.output, step.failure_details if step.failure_details != run.failure else None):
            if said:
                yield ""
                yield from (f"    | {line}" for line in neutral(said).strip().splitlines())
