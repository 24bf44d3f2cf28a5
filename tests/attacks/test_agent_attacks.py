"""A scripted agent that tries to get out, to take what is not its own, or to bring the house down, through the whole
service: what was tried, what happened, nothing gained.

The walls themselves are taken down one by one in `tests/conformance/test_sandboxes.py`, those of the gateway and the
proxy in `tests/unit/gateway` and `tests/unit/egress`; here it is seen that runs stand behind them. With
`TREADLE_SANDBOX=none` the tests of this file fail, but for what ends with a run.
"""

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx2
import psutil
import pytest
from tests.support.clis import require_program
from tests.support.processes import marked, wait_until_dead
from tests.support.repositories import BareRepositories
from tests.support.service import PATIENCE_SECONDS, Json, Service, step

pytestmark = pytest.mark.bubblewrap

MIB = 1 << 20
FILE, DISK, MEMORY, PROCESSES, CPU_SECONDS = 32 * MIB, 96 * MIB, 256 * MIB, 150, 20

#: For a run to get processor time beyond its limit from a machine that others burn, too.
BURNING_SECONDS = 240.0


@dataclass(frozen=True)
class House:
    """The service under attack, and the tokens of those who host it."""

    service: Service
    origin: Path

    def attack(self, *lines: str, **fields: object) -> Json:
        """A run whose agent does `lines` in a shell; with `said`, what they printed."""
        return self.finish(self.begin(*lines, **fields))

    def begin(self, *lines: str, **fields: object) -> str:
        script = json.dumps([{"run": line} for line in lines])
        steps = [step(f"dummy: {script}")]
        branch = f"attack-{uuid4().hex[:8]}"
        given = {"gitUrl": str(self.origin), "branchSource": "main", "branchWork": branch, "steps": steps}
        return self.service.start(engine="Dummy", **{**given, **fields})

    def finish(self, run: str) -> Json:
        process = self.service.wait(run)
        finished = [event for event in self.service.events(run) if event["type"] == "tool.finished"]
        return {**process, "said": "\n".join(str(event["data"]["output"]) for event in finished)}

    def files(self) -> Iterator[Path]:
        """What lies in its data directory; some of it comes and goes."""
        return (Path(place, name) for place, _, names in os.walk(self.service.data) for name in names)

    def events(self, process: Json, kind: str) -> list[Json]:
        return [event["data"] for event in self.service.events(process["id"]) if event["type"] == kind]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    require_program("bwrap")
    folder = tmp_path_factory.mktemp("house")
    (folder / "origin").mkdir()
    repositories = BareRepositories(folder / "origin")
    repositories.create("demo", {"README.md": "demo\n"})
    limits = {
        "SANDBOX_FILE_BYTES": FILE,
        "SANDBOX_DISK_BYTES": DISK,
        "SANDBOX_MEMORY_BYTES": MEMORY,
        "SANDBOX_PROCESSES": PROCESSES,
        "SANDBOX_CPU_SECONDS": CPU_SECONDS,
    }
    settings = {name: str(value) for name, value in limits.items()}
    with Service(folder / "data", SANDBOX="bubblewrap", RETRY_SECONDS="0.1", **settings) as service:
        yield House(service, repositories.path("demo"))


# ---- what is not the agent's to read --------------------------------------------------------------------------------


def test_environments_of_other_processes(house: House) -> None:
    """Defence: a pid namespace and a /proc of its own."""
    done = house.attack("cat /proc/[0-9]*/environ | tr '\\0' '\\n'; echo PIDS $(ls -d /proc/[0-9]* | wc -l)")
    assert done["status"] == "Success"
    assert house.service.key not in done["said"]
    assert "TREADLE_BOOTSTRAP_API_KEY" not in done["said"]
    assert int(done["said"].partition("PIDS ")[2].split()[0]) < 15


def test_its_own_environment_holds_nothing_of_the_service(house: House) -> None:
    """Defence: the environment is built from empty."""
    done = house.attack("env")
    names = {line.partition("=")[0] for line in done["said"].splitlines() if "=" in line}
    usual = {"PATH", "HOME", "LANG", "USER", "PWD", "SHLVL", "_", "OLDPWD", "LC_ALL", "LC_CTYPE"}
    assert {name for name in names if name not in usual and not name.startswith(("DUMMY", "TREADLE_DUMMY"))} == set()


def test_the_data_directory_the_database_and_the_mirrors(house: House) -> None:
    """Defence: the mount namespace shows nothing of the data directory but the run's own."""
    data = house.service.data
    lines = [
        f"cd {data}; ls -la . mirrors runs treadle.db secret.key; cat treadle.db secret.key",
        "find / \\( -name treadle.db -o -name secret.key \\) -not -path '/proc/*' 2>/dev/null",
        f"ls {data.parent}",
    ]
    done = house.attack(*lines)
    found = [line for line in done["said"].splitlines() if "No such file" not in line and "ls:" not in line]
    assert "SQLite format" not in done["said"]
    assert not [line for line in found if line.endswith(("treadle.db", "secret.key"))], found


def test_the_workspace_of_another_run(house: House) -> None:
    """Defence: the mount namespace; fixed paths inside, so that there is not even a name to guess."""
    marker = f"marker-{uuid4().hex}"
    other = house.begin(
        f"echo secret > {marker}; echo secret > /tmp/{marker}; echo secret > /dev/shm/{marker}; sleep 3600"
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not [path for path in house.files() if path.name == marker]:
            assert time.monotonic() < deadline, "the other run is at work"
            time.sleep(0.05)
        done = house.attack("find / -name 'marker-*' -not -path '/proc/*' 2>/dev/null; echo searched")
        assert done["said"].split() == ["searched"]
    finally:
        house.service.request("PUT", f"/code-generation/processes/by-id/{other}/kill")
        house.service.wait(other, "Killed")


# ---- what is not the agent's to write -------------------------------------------------------------------------------


def mirrors_of(house: House) -> dict[str, bytes]:
    """What every mirror holds, by path."""
    found = dict[str, bytes]()
    for place, _, names in os.walk(house.service.data / "mirrors"):
        for path in (Path(place, name) for name in names):
            if path.suffix not in {".lock", ".used"}:
                found[str(path)] = path.read_bytes()
    return found


def test_writing_where_others_would_read_it(house: House) -> None:
    """Defence: everything but the run's own is read-only, or not there."""
    assert house.attack("true")["status"] == "Success"
    before = mirrors_of(house)
    objects = "$(head -1 .git/objects/info/alternates)"
    places = [
        *("/usr/bin/planted", "/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname"),
        *("/proc/sysrq-trigger", "/sys/kernel/planted", "/files/planted", "/planted", "/dev/planted"),
        *("/run/treadle/planted", f"{objects}/planted"),
    ]
    attempts = "; ".join(f'(echo x > "{place}") 2>/dev/null && echo "WROTE {place}"' for place in places)
    # Beside the objects there may be room of its own (a tmpfs): what is written there is seen by nobody else.
    attempts += (
        f"; (echo x > {objects}/../config; mkdir -p {objects}/../hooks; echo x > {objects}/../hooks/post-checkout)"
    )
    done = house.attack(f"{attempts} 2>/dev/null; rm -rf {objects}/* 2>/dev/null; ls {objects} && echo STILL; true")
    assert done["status"] == "Success", done["failureDetails"]
    assert "WROTE" not in done["said"], done["said"]
    assert "STILL" in done["said"]
    assert mirrors_of(house) == before
    assert house.attack("true")["status"] == "Success", "the mirror still serves"


def test_a_link_out_of_the_tree_takes_nothing_in(house: House) -> None:
    """Defence: Git commits a link as its target's name, and the service follows none."""
    done = house.attack("ln -s /etc/passwd stolen; ln -s ../../../../ up; ln -s /proc/self/environ env")
    assert done["status"] == "Success", done["failureDetails"]
    diff = house.service.request("GET", f"/code-generation/processes/by-id/{done['id']}/diff").text
    assert "root:" not in diff
    assert house.service.key not in diff


# ---- where the agent may not go -------------------------------------------------------------------------------------

CONNECT = """
import socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    probe.settimeout(2)
    try:
        probe.connect((host, int(port)))
        print("REACHED", place)
    except OSError as error:
        print("no", place, error)
for family in ("AF_VSOCK", "AF_PACKET", "AF_ALG", "AF_BLUETOOTH"):
    try:
        socket.socket(getattr(socket, family), socket.SOCK_RAW if family == "AF_PACKET" else socket.SOCK_STREAM)
        print("OPENED", family)
    except (OSError, AttributeError) as error:
        print("no", family, error)
"""


@pytest.fixture
def listener() -> Iterator[int]:
    """A service of the machine's own, on loopback."""
    server = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def accept() -> None:
        try:
            while True:
                accepted.append(server.accept()[0])
        except OSError:
            return

    thread = threading.Thread(target=accept)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
    assert not accepted, "somebody came through"


def test_connections_to_the_machine_the_cloud_and_the_internet(house: House, listener: int) -> None:
    """Defence: a network namespace with nothing in it; and the filter of system calls, since AF_VSOCK knows no
    namespace."""
    own = house.service.url.rpartition(":")[2]
    places = [
        "169.254.169.254:80",
        "1.1.1.1:443",
        "10.0.0.1:80",
        "::1:" + own,
        f"127.0.0.1:{own}",
        f"127.0.0.1:{listener}",
    ]
    done = house.attack(f"python3 - {' '.join(places)} <<'PROGRAM'\n{CONNECT}\nPROGRAM")
    assert done["status"] == "Success"
    assert done["said"].count("no ") >= len(places) + 3, done["said"]
    assert "REACHED" not in done["said"]
    assert "OPENED" not in done["said"]


def test_an_allowed_name_that_leads_to_the_machine(house: House, listener: int) -> None:
    """Defence: the proxy checks the address that a name leads to, whatever the policy says; and no other name."""
    ask = "curl -sS -m 60"
    curl = f"{ask} http://localhost:{listener}/ 2>&1; {ask} http://elsewhere.test/ 2>&1; echo; env | grep -i proxy"
    done = house.attack(curl, network={"allow": [f"localhost:{listener}"]})
    assert "127.0.0.1:8419" in done["said"], "the proxy is what there is"
    refused = house.events(done, "network.refused")
    hosts = {event["host"] for event in refused}
    assert "elsewhere.test" in hosts or "localhost" in hosts
    assert not house.events(done, "network.connected")
    direct = house.attack(
        f"{ask} --noproxy '' -x http://127.0.0.1:8419 http://localhost:{listener}/ 2>&1",
        network={"allow": [f"localhost:{listener}"]},
    )
    assert [event["host"] for event in house.events(direct, "network.refused")] == ["localhost"]


def test_a_policy_of_none_leaves_no_door(house: House) -> None:
    """Defence: a door is opened only for what the policy lets through."""
    done = house.attack("ls /run/treadle 2>&1; env | grep -ic proxy; cat /proc/net/dev", network="none")
    assert done["status"] == "Success"
    assert "8418" not in done["said"]
    assert "8419" not in done["said"]


# ---- bringing the house down ----------------------------------------------------------------------------------------


def healthy(house: House) -> Callable[[], None]:
    """Asks the service all the while; the result fails when it did not answer."""
    over, slow = threading.Event(), list[str]()

    def ask() -> None:
        while not over.wait(0.2):
            try:
                if house.service.http.get(f"{house.service.url}/healthz", timeout=60).status_code != 200:
                    slow.append("no")
            except httpx2.HTTPError as error:
                slow.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()

    def check() -> None:
        over.set()
        thread.join()
        assert not slow, slow

    return check


def test_forking_without_end(house: House) -> None:
    """Defence: the limit of processes (a cgroup's, or what watches in its place)."""
    marker, check = f"TREADLE_TEST_{uuid4().hex}=1", healthy(house)
    bomb = "import os, time\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.05)\n"
    run = house.begin(f"{marker} python3 - <<'PROGRAM' & sleep 8; true\n{bomb}\nPROGRAM")
    most, deadline = 0, time.monotonic() + BURNING_SECONDS
    while house.service.get(run)["status"] not in {"Success", "Failed", "Killed"}:
        assert time.monotonic() < deadline, "it goes on"
        most = max(most, len(marked(marker)))
        time.sleep(0.1)
    house.finish(run)
    check()
    assert most < PROCESSES + 100, "many forked"
    assert house.attack("true")["status"] == "Success"


def test_filling_the_disk(house: House) -> None:
    """Defence: the limit of what a box holds, watched; and of one file, by the kernel."""
    check = healthy(house)
    fill = "for n in $(seq 1 400); do head -c 8388608 /dev/urandom > fill-$n || break; done; sleep 600"
    done = house.attack(fill)
    check()
    assert done["status"] == "Failed"
    assert "TREADLE_SANDBOX_DISK_BYTES" in done["failureDetails"], done["failureDetails"]
    assert not [path for path in house.files() if path.name.startswith("fill-")], "what it wrote is gone"
    large = house.attack("head -c 100000000 /dev/zero > large; stat -c %s large; rm -f large")
    assert int(large["said"].split()[-1]) <= FILE


def test_eating_memory(house: House) -> None:
    """Defence: the limit of memory, tmpfs included."""
    check = healthy(house)
    eat = "python3 -c 'import time\nkept = []\nwhile True: kept.append(b\"x\" * (16 << 20))'; echo ENDED $?"
    done = house.attack(eat)
    shared = house.attack(
        "for file in /dev/shm/big /tmp/big; do head -c 2000000000 /dev/zero > $file; du -b $file; done",
    )
    check()
    assert "ENDED 0" not in done["said"]
    words = [word for word in shared["said"].split() if word.isdigit()]
    assert all(int(word) <= 2 * MEMORY for word in words), shared["said"]


def processor_seconds(pid: int) -> float:
    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system)


def test_burning_the_processor(house: House) -> None:
    """Defence: the limit of processor time, of all processes together."""
    marker = f"TREADLE_TEST_{uuid4().hex}=1"
    run = house.begin(f"{marker} sh -c 'for n in 1 2 3 4; do (while :; do :; done) & done; wait'")
    most, burnt, deadline = 0.0, 0.0, time.monotonic() + BURNING_SECONDS
    while house.service.get(run)["status"] not in {"Success", "Failed", "Killed"}:
        assert time.monotonic() < deadline, f"it goes on after {burnt} s"
        each = [processor_seconds(pid) for pid in marked(marker)]
        most, burnt = max(most, *each, 0.0), max(burnt, sum(each))
        assert burnt < 3 * CPU_SECONDS
        time.sleep(0.2)
    done = house.finish(run)
    assert done["status"] == "Failed"
    assert "TREADLE_SANDBOX_CPU_SECONDS" in done["failureDetails"], done["failureDetails"]
    assert 0 < most < CPU_SECONDS * 3 / 4, "all together, and none alone"
    wait_until_dead(marker, PATIENCE_SECONDS)


def test_a_sparse_file_of_ten_gigabytes(house: House) -> None:
    """Defence: the limit of one file; and the service's own, of what a step may commit."""
    done = house.attack("truncate -s 10G big; ls -s big; true")
    free = shutil.disk_usage(house.service.data).free
    assert free > 0
    assert done["status"] == "Success" or "bytes" in done["failureDetails"] or "MiB" in done["failureDetails"]
    sizes = list[int]()
    for path in house.files():
        with suppress(FileNotFoundError):
            sizes.append(path.lstat().st_blocks * 512)
    assert 0 < sum(sizes) < 500 * MIB


# ---- staying ---------------------------------------------------------------------------------------------------------


def test_a_daemon_that_stays_behind(house: House) -> None:
    """Defence: the pid namespace ends with its first process."""
    marker = f"TREADLE_TEST_{uuid4().hex}"
    double = "import os, time\nif not os.fork():\n  os.setsid()\n  if not os.fork(): time.sleep(600)\n  os._exit(0)"
    done = house.attack(f"{marker}=1 setsid nohup sleep 600 >/dev/null 2>&1 & {marker}=1 python3 -c '{double}'; true")
    assert done["status"] == "Success"
    wait_until_dead(f"{marker}=1", PATIENCE_SECONDS)
    assert not marked(f"{marker}=1")


def test_killing_everybody(house: House) -> None:
    """Defence: the pid namespace: there is nobody to kill but itself."""
    assert house.service.process is not None
    done = house.attack("kill -9 -1; true")
    assert done["status"] in {"Success", "Failed"}
    assert house.service.process.poll() is None
    assert house.attack("true")["status"] == "Success"


def test_a_name_that_breaks_lines(house: House) -> None:
    """Defence: names are read with -z, and shown as codes."""
    done = house.attack(
        "printf x > \"$(printf 'a\\nb\\tc')\"; printf x > \"$(printf '\\377\\376')\"; printf x > ./-rf; true"
    )
    assert done["status"] == "Success", done["failureDetails"]
    diff = house.service.request("GET", f"/code-generation/processes/by-id/{done['id']}/diff").json()
    names = {file["newPath"] for file in diff["files"]} if diff["files"] and "newPath" in diff["files"][0] else set()
    assert "-rf" in names or "-rf" in json.dumps(diff)
