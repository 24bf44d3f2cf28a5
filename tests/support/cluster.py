"""Treadle as on many machines: API processes and workers on one PostgreSQL and, perhaps, one RabbitMQ.

    with Cluster(tmp_path, database=database_of(server), workers=2) as cluster:
        process = cluster.wait(cluster.start(gitUrl=..., steps=[...]), "Success")
        cluster.workers[0].kill9()

Every process has a data directory of its own, and proxies of its own to the database and the broker, so that one link
can be broken and the others not. Bytes go to a directory that all share, as on a network file system, unless
`BLOB_URL` says otherwise.
"""

import base64
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg

from tests.support.cluster_doors import Doors
from tests.support.cluster_node import STOP_SECONDS, Node, processes_about
from tests.support.postgres import PostgresServer
from tests.support.rabbit import RabbitServer
from tests.support.service import PATIENCE_SECONDS
from tests.support.tcp_proxy import TcpProxy

#: What any process may take to be gone after its worker is, in seconds.
LEFTOVER_SECONDS = 120.0


@dataclass(frozen=True)
class Upstream:
    """A service behind a proxy: where it listens, and its address for somebody who comes by `port` on loopback."""

    address: tuple[str, int] | Path
    url: Callable[[int], str]


def database_of(server: PostgresServer, url: str | None = None) -> tuple[Upstream, str]:
    """An empty database there, or that of `url`; and its own address, past all proxies."""
    direct = url or server.database()
    name = str(psycopg.conninfo.conninfo_to_dict(direct)["dbname"])
    socket = server.directory / ".s.PGSQL.5432"
    return Upstream(socket, lambda port: f"postgresql://postgres@127.0.0.1:{port}/{name}"), direct


def broker_of(server: RabbitServer, vhost: str | None = None) -> Upstream:
    """A virtual host there; None makes one."""
    name = vhost or server.vhost()
    return Upstream(("127.0.0.1", server.port), lambda port: server.url(name, port=port))


class Cluster(Doors):
    """`settings` are TREADLE_ names without the prefix, for all. It starts with everything up, or, with
    `is_started=False`, with nothing."""

    def __init__(
        self,
        folder: Path,
        /,
        *,
        database: tuple[Upstream, str],
        broker: Upstream | None = None,
        apis: int = 1,
        workers: int = 2,
        is_started: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(lambda: [node.url for node in self.apis], f"trd_{secrets.token_urlsafe(24)}", said=self.logs)
        self.folder = folder
        self.database_url = database[1]
        self._database = database[0]
        self._broker = broker
        self._is_started = is_started
        self._stack = ExitStack()
        self._settings = {
            "ALLOW_PRIVATE_HOSTS": "1",
            "LEASE_SECONDS": "10",
            "POLL_SECONDS": "0.3",
            "RETRY_SECONDS": "0.1,0.1,0.1",
            "SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "BOOTSTRAP_API_KEY": self.key,
            "BLOB_URL": f"file://{folder / 'blobs'}",
            **(settings or {}),
        }
        self.nodes: list[Node] = []
        self._wanted = [("api", number) for number in range(1, apis + 1)]
        self._wanted += [("worker", number) for number in range(1, workers + 1)]

    def __enter__(self) -> Self:
        self._stack.callback(self.close)
        try:
            for kind, number in self._wanted:
                self.add(f"{kind}{number}", is_api=kind == "api")
            if self._is_started:
                for node in self.nodes:
                    node.launch()
                for node in self.nodes:
                    node.wait_ready()
        except BaseException:
            with self._stack:
                self._end_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:  # the links go last
            try:
                self.heal()
            finally:
                self._end_all()

    def add(
        self,
        name: str,
        *,
        is_api: bool,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Node:
        """One process more, not started yet; `command` is another version's."""
        (self.folder / "blobs").mkdir(parents=True, exist_ok=True)
        own = {**self._settings, **(settings or {})}
        database = self._stack.enter_context(TcpProxy(self._database.address))
        own["DATABASE_URL"] = self._database.url(database.port)
        broker = None
        if self._broker is not None:
            broker = self._stack.enter_context(TcpProxy(self._broker.address))
            own["BROKER_URL"] = self._broker.url(broker.port)
        node = Node(name, self.folder, own, is_api, database, broker, environment=environment or {})
        self._stack.callback(node.close)
        if command is not None:
            node.command = command
        self.nodes.append(node)
        return node

    @property
    def apis(self) -> list[Node]:
        return [node for node in self.nodes if node.is_api]

    @property
    def workers(self) -> list[Node]:
        return [node for node in self.nodes if not node.is_api]

    def heal(self) -> None:
        """Every link is whole, and no process stands still."""
        for node in self.nodes:
            for link in node.links:
                link.heal()
            if node.is_running:
                node.resume()

    def worker_of(self, process_id: str) -> Node:
        """The one that has it now, by the last `run.started`."""
        started = [event for event in self.events(process_id) if event["type"] == "run.started"]
        name = str(started[-1]["data"]["worker"])
        for node in self.workers:
            if node.process is not None and name.endswith(f":{node.process.pid}"):
                return node
        raise AssertionError(f"no worker of this cluster is called {name}")

    def stop_all(self) -> None:
        """As an operator does. Fails unless each ends well."""
        for node in self.nodes:
            if node.is_running:
                node.terminate()
        for node in self.nodes:
            if node.process is not None:
                assert node.process.wait(STOP_SECONDS) is not None

    def leftovers(self) -> list[str]:
        """What is still there of runs that are over: workspaces, and processes other than the cluster's own."""
        ours = {node.process.pid for node in self.nodes if node.process is not None}
        left = [f"{node.name}: {path}" for node in self.nodes for path in node.workspaces]
        for process in processes_about(self.folder):
            if process.pid not in ours:
                try:
                    left.append(f"process {process.pid}: {' '.join(process.cmdline())[:300]}")
                except psutil.Error:
                    continue  # it has ended
        return left

    def wait_until_clean(self, seconds: float = LEFTOVER_SECONDS) -> list[str]:
        """What is left, at last."""
        deadline = time.monotonic() + seconds
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def logs(self) -> str:
        """The ends of all logs, and who has ended, for a failure's report."""
        return "\n".join(
            f"---- {node.name}{'' if node.is_running else ', which does not run'}\n{node.log[-3000:]}"
            for node in self.nodes
        )

    def _end_all(self) -> None:
        """By pid, whatever state they are in; those who do not end well are killed, and named."""
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            node.resume()
            node.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        stubborn = []
        for node in running:
            assert node.process is not None
            while node.is_running and time.monotonic() < deadline:
                time.sleep(0.02)
            if node.is_running:
                stubborn.append(node.name)
                node.kill9()
        assert not stubborn, f"{', '.join(stubborn)} did not stop:\n{self.logs()}"
