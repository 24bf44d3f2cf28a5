"""The whole of it: a cluster, the runs, the incidents, the calm afterwards, and the evidence."""

import heapq
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.evidence import Evidence, messages_in, read_branch, read_files, read_runs
from tests.chaos.schedule import Incident, Trouble, schedule
from tests.chaos.verify import verify
from tests.chaos.watch import Readers, Sampler
from tests.chaos.work import plan
from tests.support.chaos_git import FlakyGitServer
from tests.support.cluster import Cluster, broker_of, database_of
from tests.support.cluster_doors import TERMINAL
from tests.support.cluster_node import STOP_SECONDS, Node
from tests.support.postgres import running_postgres
from tests.support.rabbit import running_rabbit
from tests.support.tcp_proxy import TcpProxy

#: Short, so that a killed worker's runs go on within the test. Kills are deliberate here, and many: a run is not given
#: up for them.
SETTINGS = {
    "LEASE_SECONDS": "5",
    "POLL_SECONDS": "0.3",
    "MAX_LOST_WORKERS": "1000",
    "RETRY_SECONDS": "0.2,0.5,1",
    "GIT_RETRY_SECONDS": "0.2,0.5,1,2,3",
    "DRAIN_SECONDS": "10",
    "SLOTS": "4",
}

#: Runs are asked for in the first part of the time, so that the last of them meet trouble, too.
POSTING_SHARE = 0.8
#: How long a client asks again for a run to be taken, in seconds.
POST_SECONDS = 120.0
#: After the last run has ended: until every reader knows, every message is gone, everything is cleaned up.
SETTLE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Size:
    """`seconds` of trouble, an incident in about `every` of them; then `patience` seconds for what is left to do."""

    runs: int
    workers: int
    apis: int
    repositories: int
    seconds: float
    every: float
    patience: float
    has_broker: bool = True


class Chaos:
    """One seed at one size, in a folder of its own. `say` is told what happens, a line at a time."""

    def __init__(self, folder: Path, seed: int, size: Size, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.size = size
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self._tell = say
        self._faults: list[str] = []
        self._ids: dict[int, str] = {}
        self._down: set[str] = set()  # nodes that are to be started again later
        self._started = time.monotonic()
        self._ending = threading.Event()
        repositories = [f"chaos/repository-{number}" for number in range(1, size.repositories + 1)]
        self.planned = plan(seed, size.runs, size.seconds * POSTING_SHARE, repositories)
        self.incidents = schedule(
            seed,
            size.seconds,
            workers=[f"worker{number}" for number in range(1, size.workers + 1)],
            apis=[f"api{number}" for number in range(1, size.apis + 1)],
            every=size.every,
            has_broker=size.has_broker,
        )

    def run(self) -> list[str]:
        """What does not hold in the end; nothing is a pass."""
        with ExitStack() as stack:
            self._postgres = stack.enter_context(running_postgres())
            self._rabbit = stack.enter_context(running_rabbit()) if self.size.has_broker else None
            self._git = stack.enter_context(FlakyGitServer(self.seed, self.counts))
            for repository in sorted({planned.repository for planned in self.planned}):
                self._git.create(repository, {"README.md": f"# {repository}\n"})
            self._cluster = stack.enter_context(self._make_cluster())
            self._nodes = {node.name: node for node in self._cluster.nodes}
            self._sampler = stack.enter_context(Sampler(self._cluster.database_url))
            urls = [node.url for node in self._cluster.apis]
            self._readers = stack.enter_context(Readers(urls, self._cluster.key))
            try:
                self._go()
                evidence = self._evidence()
            except BaseException:
                self._keep()
                raise
            complaints = verify(evidence)
            if complaints:
                self._keep()
            return complaints

    @property
    def summary(self) -> list[str]:
        """The counts of what was done."""
        return [f"{count:4} x {what}" for what, count in sorted(self.counts.items())]

    # ---- the parts

    def _make_cluster(self) -> Cluster:
        self._vhost = self._rabbit.vhost() if self._rabbit is not None else None
        return Cluster(
            self.folder,
            database=database_of(self._postgres),
            broker=broker_of(self._rabbit, self._vhost) if self._rabbit is not None else None,
            apis=self.size.apis,
            workers=self.size.workers,
            settings=SETTINGS,
        )

    def _go(self) -> None:
        self._started = time.monotonic()
        self._say(f"seed {self.seed}: {len(self.planned)} runs, {len(self.incidents)} incidents")
        self._git.is_flaky = True
        posting = threading.Thread(target=self._post_all, name="client")
        posting.start()
        try:
            with ThreadPoolExecutor(1, "broker") as elsewhere:
                self._live_through(elsewhere)
            self._calm_down()
        except BaseException:
            self._ending.set()
            self._cluster.give_up()
            raise
        finally:
            posting.join()  # it has deadlines of its own
        self._settle()

    def _post_all(self) -> None:
        for planned in self.planned:
            if self._ending.wait(max(0.0, self._started + planned.at - time.monotonic())):
                return
            try:
                uuid = self._cluster.start(
                    seconds=POST_SECONDS,
                    gitUrl=self._git.url(planned.repository),
                    branchSource="main",
                    branchWork=planned.branch,
                    engine="Dummy",
                    steps=[{"step": step.text, "isCommitableStep": True} for step in planned.steps],
                )
            except AssertionError as error:
                self._faults.append(f"run {planned.number} was not taken: {error}")
                continue
            self._ids[planned.number] = uuid
            self._readers.follow(uuid)

    def _live_through(self, elsewhere: ThreadPoolExecutor) -> None:
        """Every incident begins and is mended at its time, or as soon after it as the others let it: what is broken is
        mended before it is broken again, else its end would be taken for that of the other."""
        due = [(incident.at, number, incident, True) for number, incident in enumerate(self.incidents)]
        heapq.heapify(due)
        broken: set[str] = set()
        slow: list[Future[None]] = []
        while due:
            at, number, incident, is_new = heapq.heappop(due)
            while (left := self._started + at - time.monotonic()) > 0:
                self._revive()
                time.sleep(min(left, 0.2))
            if is_new and incident.target in broken:
                heapq.heappush(due, (self._now + 0.5, number, incident, True))
            elif is_new:
                begun = replace(incident, at=self._now)
                broken.add(begun.target)
                self._say(f"{begun.trouble}: {begun.target}, for {begun.seconds:g} s")
                self.counts[begun.trouble] += 1
                self._break(begun, elsewhere, slow)
                heapq.heappush(due, (self._now + begun.seconds, number, begun, False))
            elif self._mend(incident, elsewhere, slow):
                broken.remove(incident.target)
            else:
                heapq.heappush(due, (self._now + 0.5, number, incident, False))
        for done in slow:
            done.result()

    def _break(self, incident: Incident, elsewhere: ThreadPoolExecutor, slow: list[Future[None]]) -> None:
        match incident.trouble:
            case Trouble.KILL_DATABASE:
                self._postgres.kill9()
            case Trouble.RESTART_DATABASE:
                self._postgres.stop()
            case Trouble.KILL_BROKER | Trouble.RESTART_BROKER:
                assert self._rabbit is not None
                is_kill = incident.trouble is Trouble.KILL_BROKER
                slow.append(elsewhere.submit(self._rabbit.kill9 if is_kill else self._rabbit.stop))
            case _:
                if incident.trouble in _DOWN:
                    self._down.add(incident.target)
                _BREAK[incident.trouble](self._nodes[incident.target])

    def _mend(self, incident: Incident, elsewhere: ThreadPoolExecutor, slow: list[Future[None]]) -> bool:
        """False: it has to be tried again a little later."""
        match incident.trouble:
            case Trouble.KILL_DATABASE | Trouble.RESTART_DATABASE:
                self._postgres.start()
            case Trouble.KILL_BROKER | Trouble.RESTART_BROKER:
                assert self._rabbit is not None
                start = self._rabbit.start  # takes seconds, in which the others go on
                slow.append(elsewhere.submit(lambda: (start(), None)[1]))
            case Trouble.KILL_WORKER | Trouble.KILL_API | Trouble.STOP_WORKER:
                node = self._nodes[incident.target]
                if node.is_running:
                    if self._now < incident.at + incident.seconds + STOP_SECONDS:
                        return False
                    self._faults.append(f"{node.name} did not end within {STOP_SECONDS} s of its SIGTERM")
                    node.kill9()
                elif incident.trouble is Trouble.STOP_WORKER:
                    self._look_at_the_end_of(node)
                self._down.discard(node.name)
                node.launch()
            case _:
                _MEND[incident.trouble](self._nodes[incident.target])
        return True

    def _revive(self) -> None:
        """As a supervisor does: a process that gives up at its start, while the database is away, is started again.
        One that ends later is a fault."""
        for node in self._cluster.nodes:
            if node.is_running or node.process is None or node.name in self._down:
                continue
            if node.was_ready:
                self._faults.append(f"{node.name} ended by itself, exit code {node.process.returncode}")
            self.counts["a process gave up at its start and was started again"] += 1
            self._say(f"{node.name} has ended with {node.process.returncode}; it is started again")
            node.launch()

    def _look_at_the_end_of(self, node: Node) -> None:
        if node.was_ready and node.process is not None and node.process.returncode:
            self._faults.append(f"{node.name} answered SIGTERM with exit code {node.process.returncode}")

    def _calm_down(self) -> None:
        self._say("all links whole, all servers and processes up, pushes as they should be: calm")
        self._git.is_flaky = False
        self._cluster.heal()
        for node in self._cluster.nodes:
            if not node.is_running:
                node.launch()

    def _settle(self) -> None:
        """Until every run has ended, or patience has."""
        deadline = time.monotonic() + self.size.patience
        told = ""
        while time.monotonic() < deadline:
            self._revive()
            statuses = Counter(kept[-1].status for kept in list(self._sampler.samples.values()))
            now = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
            if now != told:
                told = now
                self._say(now)
            if sum(statuses[status] for status in TERMINAL) == len(self._ids):
                break
            time.sleep(1)
        self._readers.wait(list(self._ids.values()), SETTLE_SECONDS)

    def _evidence(self) -> Evidence:
        messages = self._await_empty()
        left = [f"while the workers live: {each}" for each in self._cluster.wait_until_clean(SETTLE_SECONDS)]
        self._say("stopping every process")
        self._cluster.stop_all()
        for node in self._cluster.nodes:
            self._look_at_the_end_of(node)
        left += self._cluster.wait_until_clean()
        return Evidence(
            self.planned,
            dict(self._ids),
            read_runs(self._cluster.database_url),
            {where: read_branch(self._git.path(where[0]), where[1]) for where in self._branches()},
            {where: read_files(self._git.path(where[0]), where[1]) for where in self._branches()},
            self._sampler.samples,
            self._readers.seen,
            left,
            messages,
            [*self._faults, *self._readers.faults],
        )

    def _branches(self) -> Iterator[tuple[str, str]]:
        yield from sorted({(planned.repository, planned.branch) for planned in self.planned})

    def _await_empty(self) -> dict[str, int]:
        """The queues' messages, when there are none any more, or after SETTLE_SECONDS."""
        if self._rabbit is None or self._vhost is None:
            return {}
        deadline = time.monotonic() + SETTLE_SECONDS
        while any((counts := messages_in(self._rabbit, self._vhost)).values()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return counts

    def _keep(self) -> None:
        """For whoever looks into a failure, beside the logs: the repositories."""
        with suppress(OSError, shutil.Error):
            shutil.copytree(self._git.root, self.folder / "git", symlinks=True, dirs_exist_ok=True)
        with suppress(OSError):
            shutil.copyfile(self._postgres.directory / "log", self.folder / "postgres.log")
        if self._rabbit is not None:
            with suppress(OSError):
                (self.folder / "rabbit.log").write_text(self._rabbit.log)

    @property
    def _now(self) -> float:
        return time.monotonic() - self._started

    def _say(self, text: str) -> None:
        self._tell(f"[{self._now:6.1f} s] {text}")


def link_of(link: TcpProxy | None) -> TcpProxy:
    assert link is not None, "the schedule breaks only links that there are"
    return link


_DOWN = frozenset({Trouble.KILL_WORKER, Trouble.KILL_API, Trouble.STOP_WORKER})

_BREAK: dict[Trouble, Callable[[Node], None]] = {
    Trouble.KILL_WORKER: lambda node: node.kill9(),
    Trouble.KILL_API: lambda node: node.kill9(),
    Trouble.STOP_WORKER: lambda node: node.terminate(),
    Trouble.PAUSE_WORKER: lambda node: node.pause(),
    Trouble.CUT_DATABASE: lambda node: link_of(node.database).cut(),
    Trouble.HANG_DATABASE: lambda node: link_of(node.database).hang(),
    Trouble.CUT_BROKER: lambda node: link_of(node.broker).cut(),
    Trouble.HANG_BROKER: lambda node: link_of(node.broker).hang(),
}
_MEND: dict[Trouble, Callable[[Node], None]] = {
    Trouble.PAUSE_WORKER: lambda node: node.resume(),
    Trouble.CUT_DATABASE: lambda node: link_of(node.database).heal(),
    Trouble.HANG_DATABASE: lambda node: link_of(node.database).heal(),
    Trouble.CUT_BROKER: lambda node: link_of(node.broker).heal(),
    Trouble.HANG_BROKER: lambda node: link_of(node.broker).heal(),
}
