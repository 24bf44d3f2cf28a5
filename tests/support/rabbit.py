"""A RabbitMQ broker of our own: one node in a directory of its own, on a free loopback port, gone when the tests are.

The node is its own cluster of one: it asks no epmd, listens for no other node and reads no cookie, so it meets nobody
else's. Instead of `rabbitmqctl`, which takes a second a call, it evaluates Erlang that comes through a socket in its
directory, which only its owner may enter. It ends by itself when the test run that wanted it is killed.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psutil
import pytest

from tests.support.ports import ReservedPort
from tests.support.processes import note, noted

#: A node needs some six seconds on an idle machine.
START_SECONDS = 120.0
STOP_SECONDS = 60.0

USER = "treadle"
PASSWORD = "squeak-of-the-treadle"

#: What an idle node of a test should not cost: several schedulers, many threads, a log of half a gigabyte.
_ERLANG_OPTIONS = "-sname {node} -start_epmd false -dist_listen false -erl_epmd_port 1 -setcookie {cookie} +S 2:2 +A 4"

_CONFIGURATION = {
    "default_user": USER,
    "default_pass": PASSWORD,
    "disk_free_limit.absolute": "1MB",
    "raft.wal_max_size_bytes": str(32 << 20),
    "log.console": "true",
    "log.console.level": "info",
    "log.file": "false",
}

#: Evaluates what comes through the socket, a request a connection; and ends the node with the process that wanted it.
_CONTROL = """
begin
    _ = file:delete("{socket}"),
    {{ok, Listener}} = gen_tcp:listen(0, [binary, {{ifaddr, {{local, "{socket}"}}}}, {{packet, 4}}, {{active, false}}]),
    Answer = fun(Text) ->
        try
            {{ok, Tokens, _}} = erl_scan:string(unicode:characters_to_list(Text)),
            {{ok, Expressions}} = erl_parse:parse_exprs(Tokens),
            {{value, Value, _}} = erl_eval:exprs(Expressions, []),
            ["+", io_lib:format("~0p", [Value])]
        catch Class:Reason -> ["-", io_lib:format("~0p", [{{Class, Reason}}])]
        end
    end,
    Serve = fun Serve() ->
        {{ok, Connection}} = gen_tcp:accept(Listener),
        Owner = spawn(fun() -> receive go -> ok end,
            {{ok, Text}} = gen_tcp:recv(Connection, 0), gen_tcp:send(Connection, Answer(Text)) end),
        ok = gen_tcp:controlling_process(Connection, Owner),
        Owner ! go,
        Serve()
    end,
    Watch = fun Watch() ->
        timer:sleep(1000),
        case filelib:is_dir("/proc/{watched}") orelse not filelib:is_dir("/proc/self") of
            true -> Watch();
            false -> erlang:halt(1)
        end
    end,
    ok = gen_tcp:controlling_process(Listener, spawn(Serve)),
    spawn(Watch)
end.
"""


class NoRabbit(Exception):
    """It cannot be run here; the message says why."""


@dataclass
class RabbitServer:
    """One broker, running or not, on one port and one set of data. Any process that may enter `directory` may use the
    same one: `RabbitServer(directory)`.

    `settings` are lines of rabbitmq.conf, such as `consumer_timeout` (milliseconds); `application` are settings of the
    application `rabbit` that rabbitmq.conf has no name for: `channel_tick_interval` (milliseconds; how often a channel
    looks for messages held past the consumer timeout), `channel_operation_timeout` (milliseconds). They count at the
    first start.
    """

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    application: Mapping[str, int] = field(default_factory=dict)
    _reserved: ExitStack = field(init=False, default_factory=ExitStack, repr=False)

    @property
    def port(self) -> int:
        """Of AMQP; the same all its life."""
        return int((self.directory / "port").read_text())

    @property
    def pid(self) -> int:
        """Of the node, running or not any more."""
        return int((self.directory / "pid").read_text().split()[0])

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def url(self, vhost: str | None = None, *, password: str = PASSWORD, port: int | None = None) -> str:
        """Of a virtual host; None: the one that every broker has. `port`: of something in between."""
        return f"amqp://{USER}:{password}@127.0.0.1:{port or self.port}/{quote(vhost or '/', safe='')}"

    def vhost(self) -> str:
        """A new and empty virtual host's name."""
        name = f"treadle-{secrets.token_hex(6)}"
        self.evaluate(f'ok = rabbit_vhost:add(<<"{name}">>, <<"tests">>).')
        self.evaluate(
            f'ok = rabbit_auth_backend_internal:set_permissions(<<"{USER}">>, <<"{name}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"tests">>).'
        )
        return name

    def remove_vhost(self, name: str) -> None:
        """With its queues; whoever is connected to it is thrown out."""
        self.evaluate(f'rabbit_vhost:delete(<<"{name}">>, <<"tests">>).')

    def evaluate(self, expression: str) -> str:
        """What an Erlang expression, with its full stop, makes in the node, as Erlang would print it. Raises
        RuntimeError with the node's own words."""
        data = expression.encode()
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(STOP_SECONDS)
            control.connect(str(self.directory / "control"))
            control.sendall(struct.pack(">I", len(data)) + data)
            (size,) = struct.unpack(">I", _receive(control, 4))
            answer = _receive(control, size).decode()
        if not answer.startswith("+"):
            raise RuntimeError(f"{expression} failed: {answer[1:]}")
        return answer[1:]

    def sync(self) -> None:
        """What was declared is on disk. A broker that is killed within half a second of making a quorum queue finds it
        without a leader, and needs long to mend it."""
        self.evaluate("[ok = dets:sync(Table) || Table <- dets:all()].")

    def start(self) -> Self:
        """Returns when it takes connections. Raises NoRabbit."""
        program = _program()
        if not (self.directory / "port").exists():
            self._configure()
        elif self._node() is not None:
            raise RuntimeError("the broker is running already")
        node = f"{self.directory.name}@localhost"
        control = _CONTROL.format(socket=self.directory / "control", watched=_watched())
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "detached": "1",  # the script becomes the node, which then has the pid that is known here
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.directory / "generated"),
            "RABBITMQ_PID_FILE": str(self.directory / "node.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_OPTIONS.format(node=node, cookie=self.directory.name),
        }
        # Through a shell that ends at once, so that the node is nobody's child: another process of the test run may
        # have to end it. In a session of its own, so that Ctrl-C reaches the tests only.
        with (self.directory / "log").open("ab") as log:
            started = subprocess.run(
                ["/bin/sh", "-c", 'setsid "$@" >&2 & echo $!', "sh", str(program), "-eval", control],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=self.directory,
                check=True,
                timeout=STOP_SECONDS,
            )
        note(self.directory / "pid", int(started.stdout))
        self._await()
        return self

    def stop(self) -> None:
        """In order, as an operator would; nothing of it runs afterwards. The data stay."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """At once, as a machine that dies."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """In order, on the same data and port."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """All that there is of it."""
        self._end(signal.SIGKILL)
        self.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def release(self) -> None:
        """Its starter leaves it to others: while it runs, its port is safe without us."""
        self._reserved.close()

    def _configure(self) -> None:
        port = self._reserved.enter_context(ReservedPort()).number
        (self.directory / "port").write_text(str(port))
        lines = {"listeners.tcp.1": f"127.0.0.1:{port}", **_CONFIGURATION, **self.settings}
        (self.directory / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
        options = ", ".join(f"{{{key}, {value}}}" for key, value in self.application.items())
        (self.directory / "advanced.config").write_text(f"[{{rabbit, [{options}]}}].\n")
        (self.directory / "enabled_plugins").write_text("[].\n")

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError, struct.error):
                self.evaluate("true = rabbit:is_running().")
                return
            if self._node() is None or time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                raise NoRabbit(f"RabbitMQ did not start: {self.log[-2000:]}")
            time.sleep(0.05)

    def _node(self) -> psutil.Process | None:
        """The running node; None when there is none, whoever has its pid now."""
        return noted(self.directory / "pid")

    def _end(self, number: int) -> None:
        node = self._node()
        if node is None:
            return
        processes = [node]
        with suppress(psutil.NoSuchProcess):  # it ends by itself just now
            processes += node.children(recursive=True)  # which end when the node's pipe to them does
            node.send_signal(number)
        if not _wait([node], STOP_SECONDS):
            with suppress(psutil.NoSuchProcess):
                node.kill()
        if not _wait(processes, STOP_SECONDS):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            assert _wait(processes, STOP_SECONDS)


@contextmanager
def running_rabbit(
    *, settings: Mapping[str, str] | None = None, application: Mapping[str, int] | None = None
) -> Iterator[RabbitServer]:
    """One for a test that stops or kills it. Raises NoRabbit."""
    server = RabbitServer(_new_directory(), settings or {}, application or {})
    try:
        yield server.start()
    finally:
        server.remove()


@contextmanager
def shared_rabbit(folder: Path) -> Iterator[RabbitServer]:
    """The one of all processes that name the same folder: the first starts it, the last removes it. Raises NoRabbit."""
    state = folder / "rabbit.json"
    with _locked(folder):
        known = json.loads(state.read_text()) if state.exists() else None
        if known is None:
            server = RabbitServer(_new_directory())
            try:
                server.start()
            except BaseException:
                server.remove()
                raise
            server.release()
            known = {"directory": str(server.directory), "users": 0}
        known["users"] += 1
        state.write_text(json.dumps(known))
    server = RabbitServer(Path(known["directory"]))
    try:
        yield server
    finally:
        with _locked(folder):
            known = json.loads(state.read_text())
            known["users"] -= 1
            if known["users"]:
                state.write_text(json.dumps(known))
            else:
                state.unlink()
                server.remove()


@pytest.fixture(scope="session")
def rabbit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One for the whole test run, whatever number of processes it has; nobody may stop it. Where it cannot be run the
    tests are skipped, and fail in CI."""
    folder = tmp_path_factory.getbasetemp()
    try:
        with shared_rabbit(folder.parent if _is_one_of_many() else folder) as server:
            yield server
    except NoRabbit as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def rabbit_url(rabbit_server: RabbitServer) -> Iterator[str]:
    """The address of a virtual host of one's own."""
    name = rabbit_server.vhost()
    yield rabbit_server.url(name)
    rabbit_server.remove_vhost(name)


def _new_directory() -> Path:
    # Not pytest's directory: a socket's path has to be short. Its name is the node's, too.
    return Path(tempfile.mkdtemp(prefix="treadle-rabbit-"))


def _program() -> Path:
    """The broker's own script: the one in PATH is Debian's, which would run it as another user elsewhere."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if not found or shutil.which("erl") is None:
        raise NoRabbit("RabbitMQ is not installed: apt-get install rabbitmq-server.")
    return found[-1]


def _is_one_of_many() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def _watched() -> int:
    """The process that outlives all that use the broker."""
    return os.getppid() if _is_one_of_many() else os.getpid()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "rabbit.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all have ended in that time. A zombie has: whoever is its parent now."""
    deadline = time.monotonic() + seconds
    while any(map(_is_alive, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
