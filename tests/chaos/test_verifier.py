"""The verifier must fail on what it is there to find: each test fabricates one wrong in a story that holds."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.chaos.evidence import CommitSeen, EventRow, Evidence, RunRow, StepRow, read_branch, read_files
from tests.chaos.verify import CHECKS, verify
from tests.chaos.watch import Sample, Seen, digest_of
from tests.chaos.work import PlannedRun, plan
from tests.support.repositories import BareRepositories

REPOSITORY = "chaos/repository-1"


def uuid_of(run: int, step: int = 0) -> str:
    return f"00000000-0000-4000-8000-0000000{run:02}{step:03}"


def event(number: int, kind: str, data: dict[str, object] | None = None, step: int | None = None) -> EventRow:
    told = {"number": number, "type": kind, "step": step, "phase": None, "data": data or {}}
    return EventRow(number, kind, data or {}, number * 1_000_000, step, digest_of(told))


def story(leases: int = 2) -> list[EventRow]:
    """A run of three steps that lost a worker in its first."""
    made = [event(1, "run.created")]
    for lease in range(1, leases + 1):
        made.append(event(len(made) + 1, "run.started", {"lease": lease}))
        if lease == 1:
            made.append(event(len(made) + 1, "step.started", step=1))
        if lease < leases:
            made.append(event(len(made) + 1, "run.requeued", {"lease": lease}))
    for step in (1, 2, 3):
        if step > 1:
            made.append(event(len(made) + 1, "step.started", step=step))
        made.append(event(len(made) + 1, "git.pushed", step=step))
        made.append(event(len(made) + 1, "step.finished", step=step))
    made.append(event(len(made) + 1, "run.finished"))
    return made


def shifted(events: Sequence[EventRow], seconds: float) -> list[EventRow]:
    return [dataclasses.replace(each, date=each.date + round(seconds * 1_000_000)) for each in events]


def commits_of(run: int, after: str) -> list[CommitSeen]:
    made = []
    for step in (1, 2, 3):
        sha = f"{run:02}{step:02}" * 10
        made.append(CommitSeen(sha, (after,), (uuid_of(run, step),), (f"run-{run}/step-{step}.txt",)))
        after = sha
    return made


@pytest.fixture
def evidence() -> Evidence:
    """Five runs that went well; the last two share a work branch."""
    planned = plan(1, 5, 10, [REPOSITORY])
    assert [run.after for run in planned] == [None, None, None, None, 3]
    runs, samples, seen = {}, {}, {}
    branches: dict[tuple[str, str], list[CommitSeen]] = {}
    files: dict[tuple[str, str], dict[str, str]] = {}
    for run in planned:
        uuid, where = uuid_of(run.number), (run.repository, run.branch)
        kept = branches.setdefault(where, [])
        made = commits_of(run.number, kept[-1].sha if kept else "base")
        kept += made
        files.setdefault(where, {"README.md": "#\n"}).update({step.path: f"{step.line}\n" for step in run.steps})
        events = shifted(story(), 0 if run.after is None else 60)
        steps = [StepRow(n, uuid_of(run.number, n), "Success", made[n - 1].sha) for n in (1, 2, 3)]
        runs[uuid] = RunRow("Success", 2, len(events), 1, None, steps, events)
        late = 0 if run.after is None else 60
        samples[uuid] = [
            Sample(0.1, "New", 0, 1),
            Sample(late + 1, "Running", 1, 3),
            Sample(late + 5, "Success", 2, len(events)),
        ]
        seen[uuid] = [Seen(each.number, each.digest) for each in events]
    ids = {run.number: uuid_of(run.number) for run in planned}
    return Evidence(planned, ids, runs, branches, files, samples, seen, messages={"runs": 0})


Change = Callable[[Evidence], Evidence]


def of_run(number: int, **changes: object) -> Change:
    def change(evidence: Evidence) -> Evidence:
        uuid = uuid_of(number)
        run = dataclasses.replace(evidence.runs[uuid], **changes)  # type: ignore[arg-type] # each test names its fields
        return dataclasses.replace(evidence, runs={**evidence.runs, uuid: run})

    return change


def events_of(number: int, edit: Callable[[list[EventRow]], list[EventRow]]) -> Change:
    return lambda evidence: of_run(number, events=edit(list(evidence.runs[uuid_of(number)].events)))(evidence)


def on_branch(number: int, edit: Callable[[list[CommitSeen]], list[CommitSeen]]) -> Change:
    def change(evidence: Evidence) -> Evidence:
        run = evidence.planned[number]
        where = (run.repository, run.branch)
        return dataclasses.replace(
            evidence, branches={**evidence.branches, where: edit(list(evidence.branches[where]))}
        )

    return change


def sampled(number: int, *more: Sample) -> Change:
    uuid = uuid_of(number)
    return lambda evidence: dataclasses.replace(
        evidence, samples={**evidence.samples, uuid: [*evidence.samples[uuid], *more]}
    )


def sampled_as(number: int, *samples: Sample) -> Change:
    uuid = uuid_of(number)
    return lambda evidence: dataclasses.replace(evidence, samples={**evidence.samples, uuid: list(samples)})


def read_as(number: int, edit: Callable[[list[Seen]], list[Seen]]) -> Change:
    uuid = uuid_of(number)
    return lambda evidence: dataclasses.replace(evidence, seen={**evidence.seen, uuid: edit(list(evidence.seen[uuid]))})


def with_file(number: int, content: str) -> Change:
    def change(evidence: Evidence) -> Evidence:
        run = evidence.planned[number]
        where = (run.repository, run.branch)
        files = {**evidence.files[where], run.steps[0].path: content}
        return dataclasses.replace(evidence, files={**evidence.files, where: files})

    return change


def doubled(commits: list[CommitSeen]) -> list[CommitSeen]:
    return [*commits, dataclasses.replace(commits[-1], sha="f" * 40, parents=(commits[-1].sha,))]


def test_a_story_that_holds_has_no_complaint(evidence: Evidence) -> None:
    assert verify(evidence) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (on_branch(0, doubled), "was committed 2 times"),
        (on_branch(0, lambda found: found[:-1]), "and should be of"),
        (on_branch(0, lambda found: found[::-1]), "and should be of"),
        (on_branch(0, lambda found: [*found[:2], dataclasses.replace(found[2], parents=("x",))]), "does not follow"),
        (on_branch(0, lambda found: [dataclasses.replace(found[0], parents=("a", "b")), *found[1:]]), "has 2 parents"),
        (on_branch(0, lambda found: [dataclasses.replace(found[0], steps=()), *found[1:]]), "names 0 steps"),
        (on_branch(0, lambda found: [dataclasses.replace(found[0], paths=("x",)), *found[1:]]), "its commit changes"),
        (on_branch(0, lambda found: [dataclasses.replace(found[0], sha="e" * 40), *found[1:]]), "the row says"),
        (with_file(1, "run 1 step 1\nrun 1 step 1\n"), "step 1: run-1/step-1.txt holds"),
        (events_of(0, lambda events: events[:3] + events[4:]), "is missing [4] (of 14)"),
        (events_of(0, lambda events: [*events[:4], *events[3:]]), "has more than once [4] (of 14)"),
        (events_of(0, lambda events: [events[1], events[0], *events[2:]]), "has the events out of order"),
        (of_run(0, last_event=15), "is missing [15] (of 15)"),
        (of_run(0, last_event=13), "has, beyond the last, [14] (of 13)"),
        (read_as(0, lambda seen: seen[:5] + seen[6:]), "its reader is missing [6]"),
        (read_as(0, lambda seen: [*seen, seen[-1]]), "its reader has more than once [14]"),
        (read_as(0, lambda seen: [*seen[:2], Seen(3, "other"), *seen[3:]]), "event 3 was another one"),
        (sampled(0, Sample(6, "Running", 1, 14)), "the lease went from 2 back to 1 at 6 s"),
        (sampled(0, Sample(6, "Running", 2, 12)), "events 13 to 14 were there and went"),
        (of_run(0, lease=3), "the last claim had lease 2, the row has 3"),
        (of_run(0, events=story(3)[:3] + story(3)[5:]), "the claims had the leases [1, 3]"),
        (of_run(0, status="Failed", failure_details="no"), "is Failed: no"),
        (of_run(4, events=shifted(story(), 0)), "before run 3 had ended"),
        (sampled_as(4, Sample(0.1, "New", 0, 1), Sample(2, "Running", 1, 3)), "by 2 s, while run 3 was Running"),
        (
            events_of(0, lambda events: [*events, event(15, "engine.text")]),
            "it begins with ['run.created'] and ends with ['engine.text']",
        ),
        (
            events_of(0, lambda events: [*events[:-1], event(14, "step.finished", step=3)]),
            "step.finished is told of the steps [1, 2, 3, 3]",
        ),
        (events_of(0, lambda events: [*events[:-2], event(13, "git.pushed", step=3), events[-1]]), "pushed 2 times"),
        (lambda evidence: dataclasses.replace(evidence, leftovers=["a workspace"]), "nothing is left: a workspace"),
        (lambda evidence: dataclasses.replace(evidence, messages={"runs": 2}), "no message is stuck: 2 in runs"),
        (lambda evidence: dataclasses.replace(evidence, faults=["oh"]), "the harness saw no fault: oh"),
        (lambda evidence: dataclasses.replace(evidence, ids={**evidence.ids, 1: uuid_of(0)}), "2 POSTs were answered"),
        (
            lambda evidence: dataclasses.replace(evidence, ids={n: i for n, i in evidence.ids.items() if n}),
            "runs [0] were never answered",
        ),
        (
            lambda evidence: dataclasses.replace(
                evidence, runs={u: r for u, r in evidence.runs.items() if u != uuid_of(2)}
            ),
            "the database has lost",
        ),
    ],
)
def test_a_wrong_is_found(evidence: Evidence, change: Change, said: str) -> None:
    assert any(said in complaint for complaint in verify(change(evidence)))


def test_every_check_can_fail() -> None:
    """By its name in the sentences above, or in the tests below."""
    assert len(CHECKS) == len({check.__name__ for check in CHECKS}) == 11


def test_a_branch_is_read_with_its_trailers_and_paths(tmp_path: Path) -> None:
    bare = BareRepositories(tmp_path)
    path = bare.create("acme/demo", {"README.md": "#\n"})
    assert read_branch(path, "work") == []
    base = bare.log("acme/demo")[0].sha
    bare.git("acme/demo", "branch", "work", "main")
    first = bare.commit("acme/demo", {"a.txt": "1\n"}, branch="work", message="One\n\nTreadle-Step: s1")
    second = bare.commit(
        "acme/demo", {"b.txt": "2\n", "c.txt": "3\n"}, branch="work", message="Two\n\nTreadle-Step: s1"
    )
    assert read_branch(path, "work") == [
        CommitSeen(first, (base,), ("s1",), ("a.txt",)),
        CommitSeen(second, (first,), ("s1",), ("b.txt", "c.txt")),
    ]
    assert read_files(path, "work") == {"README.md": "#\n", "a.txt": "1\n", "b.txt": "2\n", "c.txt": "3\n"}


def test_the_plan_is_the_seeds() -> None:
    first = plan(7, 60, 100, ["a", "b"])
    assert first == plan(7, 60, 100, ["a", "b"])
    assert first != plan(8, 60, 100, ["a", "b"])
    shared = [run for run in first if run.after is not None]
    assert len(shared) == 12
    assert all(_where(run) == _where(first[run.after or 0]) for run in shared)
    alone = [_where(run) for run in first if run.after is None]
    assert len(alone) == len(set(alone))


def _where(run: PlannedRun) -> tuple[str, str]:
    return run.repository, run.branch
