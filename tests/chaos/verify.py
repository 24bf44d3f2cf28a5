"""What must hold in the end. Every check gives a sentence for each thing that does not."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tests.chaos.evidence import Evidence, RunRow
from tests.chaos.work import PlannedRun

#: What happens to a run while no worker works on it.
_WITHOUT_WORK = frozenset({"run.created", "run.started", "run.requeued"})


def verify(evidence: Evidence) -> list[str]:
    """Every complaint of every check; none is a pass."""
    return [f"{check.__name__.replace('_', ' ')}: {said}" for check in CHECKS for said in check(evidence)]


def every_run_is_there_once(evidence: Evidence) -> Iterator[str]:
    missing = [run.number for run in evidence.planned if run.number not in evidence.ids]
    if missing:
        yield f"the POSTs of runs {missing} were never answered"
    for uuid, count in Counter(evidence.ids.values()).items():
        if count > 1:
            yield f"{count} POSTs were answered with {uuid}"
    known = set(evidence.ids.values())
    for uuid in evidence.runs:
        if uuid not in known:
            yield f"the database has a run that no POST was answered with: {uuid}"
    for uuid in known - set(evidence.runs):
        yield f"the database has lost {uuid}"


def every_run_succeeded(evidence: Evidence) -> Iterator[str]:
    for planned, uuid, run in _runs(evidence):
        if run.status != "Success":
            yield f"{_name(planned, uuid)} is {run.status}: {run.failure_details}"
        for step in run.steps:
            if step.status != "Success":
                yield f"{_name(planned, uuid)}: step {step.position} is {step.status}"


def every_branch_has_one_commit_a_step_in_order(evidence: Evidence) -> Iterator[str]:
    for (repository, branch), commits in evidence.branches.items():
        where = f"{repository} {branch}"
        found = [step for commit in commits for step in commit.steps]
        wanted = [step.uuid for _, _, run in _on_branch(evidence, repository, branch) for step in run.steps]
        for step, count in Counter(found).items():
            if count > 1:
                yield f"{where}: step {step} was committed {count} times"
        if found != wanted:
            yield f"{where}: the commits are of the steps {found}, and should be of {wanted}"
        for commit in commits:
            if len(commit.steps) != 1:
                yield f"{where}: commit {commit.sha[:8]} names {len(commit.steps)} steps"
            if len(commit.parents) != 1:
                yield f"{where}: commit {commit.sha[:8]} has {len(commit.parents)} parents"
        for before, after in pairwise(commits):
            if after.parents != (before.sha,):
                yield f"{where}: {after.sha[:8]} does not follow {before.sha[:8]}"


def every_step_did_its_work_once(evidence: Evidence) -> Iterator[str]:
    commits = {step: commit for branch in evidence.branches.values() for commit in branch for step in commit.steps}
    for planned, uuid, run in _runs(evidence):
        files = evidence.files.get((planned.repository, planned.branch), {})
        for step, row in zip(planned.steps, run.steps, strict=False):
            name = f"{_name(planned, uuid)} step {row.position}"
            if files.get(step.path) != f"{step.line}\n":
                yield f"{name}: {step.path} holds {files.get(step.path)!r}"
            commit = commits.get(row.uuid)
            if commit is None:
                continue  # said elsewhere
            if commit.sha != row.commit_sha:
                yield f"{name}: the row says {row.commit_sha}, the branch {commit.sha}"
            if commit.paths != (step.path,):
                yield f"{name}: its commit changes {list(commit.paths)}"


def no_lease_went_back(evidence: Evidence) -> Iterator[str]:
    for planned, uuid, run in _runs(evidence):
        name = _name(planned, uuid)
        started = [_lease(event.data) for event in run.events if event.type == "run.started"]
        if started != list(range(1, len(started) + 1)):
            yield f"{name}: the claims had the leases {started}"
        if started and started[-1] != run.lease:
            yield f"{name}: the last claim had lease {started[-1]}, the row has {run.lease}"
        samples = evidence.samples.get(uuid, ())
        for before, after in pairwise(samples):
            if after.lease < before.lease:
                yield f"{name}: the lease went from {before.lease} back to {after.lease} at {after.at} s"
            if after.last_event < before.last_event:
                yield f"{name}: events {after.last_event + 1} to {before.last_event} were there and went"


def no_event_is_missing_or_double(evidence: Evidence) -> Iterator[str]:
    for planned, uuid, run in _runs(evidence):
        name = _name(planned, uuid)
        yield from (
            f"{name}: the database {said}" for said in _numbering([e.number for e in run.events], run.last_event)
        )
        if uuid not in evidence.seen:
            continue
        seen = evidence.seen[uuid]
        yield from (f"{name}: its reader {said}" for said in _numbering([e.number for e in seen], run.last_event))
        kept = {event.number: event.digest for event in run.events}
        for event in seen:
            if event.number in kept and kept[event.number] != event.digest:
                yield f"{name}: event {event.number} was another one when its reader saw it"


def every_story_is_told_once(evidence: Evidence) -> Iterator[str]:
    """Created first, finished last; every step begins once and ends once, in order, and is pushed at most once."""
    for planned, uuid, run in _runs(evidence):
        name = _name(planned, uuid)
        types = [event.type for event in run.events]
        if not types or types[0] != "run.created" or types[-1] != "run.finished" or types.count("run.finished") != 1:
            yield f"{name}: it begins with {types[:1]} and ends with {types[-1:]}"
        for kind in ("step.started", "step.finished"):
            told = [event.step for event in run.events if event.type == kind]
            if told != [step.position for step in run.steps]:
                yield f"{name}: {kind} is told of the steps {told}"
        for step, count in Counter(event.step for event in run.events if event.type == "git.pushed").items():
            if count > 1:
                yield f"{name}: step {step} was pushed {count} times"


def no_two_runs_shared_a_branch(evidence: Evidence) -> Iterator[str]:
    """By what their workers did, for the date of a claim is that of the question, which may wait for its answer; and by
    the rows: each sample is one snapshot of all runs."""
    for planned, uuid, run in _runs(evidence):
        if planned.after is None or planned.after not in evidence.ids:
            continue
        first = evidence.runs.get(evidence.ids[planned.after])
        ended = _first(first, "run.finished") if first is not None else None
        began = min((event.date for event in run.events if event.type not in _WITHOUT_WORK), default=None)
        if ended is not None and began is not None and began < ended:  # what is missing is said elsewhere
            yield f"{_name(planned, uuid)} began {(ended - began) / 1e6:.3f} s before run {planned.after} had ended"
        claimed = next((sample.at for sample in evidence.samples.get(uuid, ()) if sample.lease), None)
        others = evidence.samples.get(evidence.ids[planned.after], ())
        then = [sample.status for sample in others if claimed is not None and sample.at <= claimed]
        if then and then[-1] in {"New", "Running"}:
            yield f"{_name(planned, uuid)} was claimed by {claimed} s, while run {planned.after} was {then[-1]}"


def nothing_is_left(evidence: Evidence) -> Iterator[str]:
    yield from evidence.leftovers


def no_message_is_stuck(evidence: Evidence) -> Iterator[str]:
    for queue, count in evidence.messages.items():
        if count:
            yield f"{count} in {queue}"


def the_harness_saw_no_fault(evidence: Evidence) -> Iterator[str]:
    yield from evidence.faults


CHECKS: Sequence[Callable[[Evidence], Iterator[str]]] = (
    every_run_is_there_once,
    every_run_succeeded,
    every_branch_has_one_commit_a_step_in_order,
    every_step_did_its_work_once,
    no_lease_went_back,
    no_event_is_missing_or_double,
    every_story_is_told_once,
    no_two_runs_shared_a_branch,
    nothing_is_left,
    no_message_is_stuck,
    the_harness_saw_no_fault,
)


def _runs(evidence: Evidence) -> Iterator[tuple[PlannedRun, str, RunRow]]:
    for planned in evidence.planned:
        uuid = evidence.ids.get(planned.number)
        if uuid is not None and uuid in evidence.runs:
            yield planned, uuid, evidence.runs[uuid]


def _on_branch(evidence: Evidence, repository: str, branch: str) -> list[tuple[PlannedRun, str, RunRow]]:
    """In the order in which they were asked for."""
    return [found for found in _runs(evidence) if (found[0].repository, found[0].branch) == (repository, branch)]


def _name(planned: PlannedRun, uuid: str) -> str:
    return f"run {planned.number} ({uuid})"


def _first(run: RunRow, kind: str) -> int | None:
    """When it happened first, in microseconds since 1970."""
    return next((event.date for event in run.events if event.type == kind), None)


def _lease(data: object) -> int:
    assert isinstance(data, dict)
    return int(data["lease"])


def _numbering(numbers: Sequence[int], last: int) -> Iterator[str]:
    if list(numbers) == list(range(1, last + 1)):
        return
    double = [number for number, count in Counter(numbers).items() if count > 1]
    missing = sorted(set(range(1, last + 1)) - set(numbers))
    beyond = sorted(number for number in set(numbers) if not 1 <= number <= last)
    told = {"is missing": missing, "has more than once": double, "has, beyond the last,": beyond}
    said = [f"{what} {which[:20]}" for what, which in told.items() if which]
    yield f"{'; '.join(said) or 'has the events out of order'} (of {last})"
