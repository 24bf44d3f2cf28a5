"""What bubblewrap's walls keep from a command: calls to the kernel, the machine's own files, the way back out."""

import ctypes
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.boxes import PATH, make_box, run, run_argv
from tests.support.clis import give_up

from treadle.domain.errors import ConfigurationError
from treadle.ports import Box
from treadle.sandbox import SANDBOXES, CheckedSandbox
from treadle.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

PYTHON = os.path.realpath(sys.executable)


@pytest.fixture
async def bubblewrap() -> CheckedSandbox:
    made = SANDBOXES["bubblewrap"](Settings.load({}))
    try:
        await made.check()
    except ConfigurationError as error:
        give_up(error.message)
    return made


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return replace(make_box(tmp_path), readable=(Path(os.path.realpath(sys.base_prefix)),))


#: What the kernel itself says otherwise, or nothing. By the numbers of x86-64.
CALLS: Mapping[str, tuple[str, str]] = {
    "unshare": ("272, 0x10000000", "EPERM"),
    "unshare of a network": ("272, 0x50000000", "EPERM"),
    "clone": ("56, 0x10000011, 0, 0, 0, 0", "EPERM"),
    "clone3": ("435, 0, 0", "ENOSYS"),
    "setns": ("308, -1, 0", "EPERM"),
    "fsopen": ("430, 0, 0", "EPERM"),
    "open_tree": ("428, -100, b'/tmp', 0", "EPERM"),
    "move_mount": ("429, -1, 0, -1, 0, 0", "EPERM"),
    "bpf": ("321, 0, 0, 0", "EPERM"),
    "perf_event_open": ("298, 0, 0, 0, 0, 0", "EPERM"),
    "userfaultfd": ("323, 0x7fffffff", "EPERM"),
    "io_uring_setup": ("425, 1, 0", "EPERM"),
    "add_key": ("248, 0, 0, 0, 0, 0", "EPERM"),
    "keyctl": ("250, 0, 0, 0, 0, 0", "EPERM"),
    "name_to_handle_at": ("303, -1, 0, 0, 0, 0", "EPERM"),
    "fanotify_init": ("300, 0x7fffffff, 0", "EPERM"),
    "quotactl_fd": ("443, -1, 0, 0, 0", "EPERM"),
    "adjtimex": ("159, 0", "EPERM"),
    "personality": ("135, 0x0400000", "EPERM"),
    "a terminal's input": ("16, 0, 0x5412, 0", "EPERM"),
    "a terminal's input, by more bits": ("16, 0, 0x100005412, 0", "EPERM"),
    "the hypervisor": ("41, 40, 1, 0", "EAFNOSUPPORT"),
    "AF_ALG": ("41, 38, 5, 0", "EAFNOSUPPORT"),
    "AF_PACKET": ("41, 17, 3, 0", "EAFNOSUPPORT"),
    "SCTP": ("41, 2, 1, 132", "EPROTONOSUPPORT"),
    "netfilter": ("41, 16, 3, 12", "EPROTONOSUPPORT"),
    "socketpair": ("53, 30, 1, 0, 0", "EAFNOSUPPORT"),
    "a segment of System V": ("29, 0, 0x4000, 0x380", "EINVAL"),
    "a segment beyond 4 GiB": ("29, 0, 0x100000001, 0x380", "EINVAL"),
    "semaphores of System V": ("64, 0, 64, 0x380", "EINVAL"),
    "set-user-id": ("90, b'/tmp/file', 0o4755", "EPERM"),
    "set-user-id, made so": ("2, b'/tmp/other', 0o101, 0o4755", "EPERM"),
    "openat2": ("437, -1, 0, 0, 0", "ENOSYS"),
    "what is newer": ("600", "ENOSYS"),
    "x32": ("0x40000027", "ENOSYS"),
}

#: Calls that a kernel may have been built without, and those that it refuses too for want of a capability.
UNBUILT = {"x32", "what is newer", "AF_ALG", "the hypervisor", "SCTP", "socketpair", "netfilter"}
WITHOUT_CAPABILITY = {"bpf", "fsopen", "move_mount", "fanotify_init"}

SCRIPT = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    ctypes.set_errno(0)
    return [libc.syscall(*(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)) >= 0,
        errno.errorcode.get(ctypes.get_errno())]
open("/tmp/file", "w").close()
"""


async def tried(sandbox: CheckedSandbox, box: Box, calls: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """What each of them gave: an error's name or "done". A call that makes a process does so in one of its own."""
    lines = "\n".join(
        f"pid = os.fork()\nif not pid:\n    print({name!r}, *call({call}), sep='|', flush=True)\n    os._exit(0)\n"
        "os.waitpid(pid, 0)"
        for name, (call, _) in calls.items()
    )
    done = await run_argv(sandbox, box, (PYTHON, "-I", "-S", "-c", f"import os{SCRIPT}{lines}"), {"PATH": PATH})
    assert done.exit_code == 0, done.stderr
    found = [line.split("|") for line in done.stdout.decode().splitlines()]
    return {name: "done" if is_done == "True" else error for name, is_done, error in found}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
async def test_the_filter_refuses_what_no_agent_needs(
    bubblewrap: CheckedSandbox, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {name: error for name, (_, error) in CALLS.items()}
    assert await tried(bubblewrap, box, CALLS) == wanted
    monkeypatch.setattr("treadle.sandbox.bubblewrap._filter", lambda: None)
    without = await tried(bubblewrap, box, CALLS)
    same = {name for name in wanted if without.get(name) == wanted[name]}
    assert same <= UNBUILT | WITHOUT_CAPABILITY


async def test_the_filter_leaves_programs_what_they_need(bubblewrap: CheckedSandbox, box: Box) -> None:
    script = """
import os, socket, subprocess, threading, multiprocessing, tempfile
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout, end="", flush=True)
a, b = socket.socketpair(); a.send(b"pair"); print(b.recv(9).decode())
for family in socket.AF_INET, socket.AF_INET6, socket.AF_UNIX:
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM: socket.socket(family, kind).close()
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
print(socket.if_nameindex()[0][1])
os.chmod("/tmp", 0o2775); os.mkfifo("/tmp/fifo"); os.memfd_create("x"); os.eventfd(0)
print(os.sched_getaffinity(0) != set())
"""
    done = await run_argv(bubblewrap, box, (PYTHON, "-I", "-c", script), {"PATH": PATH})
    assert done.stdout.decode().split() == ["thread", "child", "pair", "lo", "True"], done.stderr


async def test_tools_work(bubblewrap: CheckedSandbox, box: Box) -> None:
    script = """
export HOME=/home/agent; git init -q . && echo a >a && git add a && git -c user.name=a -c user.email=a@b commit -qm x
git log --format=%s; git gc -q; tar cf - a | tar tf -; ls | xargs -P4 -n1 cat; mktemp -d >/dev/null; nproc >/dev/null
"""
    done = await run(bubblewrap, box, script)
    assert (done.stdout, done.stderr, done.exit_code) == (b"x\na\na\n", "", 0)


async def test_the_system_s_programs_find_what_they_read_of_etc(bubblewrap: CheckedSandbox, box: Box) -> None:
    """Debian's Java knows no hash without its file, and its Maven does not start."""
    script = """
for link in /usr/lib/jvm/*/conf/security/java.security /usr/lib/jvm/*/conf/net.properties /usr/share/maven/bin/m2.conf
do [ ! -L $link ] || head -c 1 $link >/dev/null; done
ls /etc/maven/settings.xml /etc/java-*/management 2>/dev/null
"""
    done = await run(bubblewrap, box, script)
    assert (done.stdout, done.stderr) == (b"", "")


async def test_no_user_namespace_can_be_made_even_without_the_filter(
    bubblewrap: CheckedSandbox, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.sandbox.bubblewrap._filter", lambda: None)
    done = await run(bubblewrap, box, "unshare --user true")
    assert "No space left on device" in done.stderr


async def test_of_the_machine_nothing_is_told_and_nothing_set(bubblewrap: CheckedSandbox, tmp_path: Path) -> None:
    readable = "kcore keys kallsyms kmsg kpagecount kpageflags slabinfo timer_list vmallocinfo interrupts"
    writable = "sys/kernel/core_pattern sys/vm/drop_caches sysrq-trigger self/oom_score_adj 1/oom_score_adj mtrr"
    script = f"""
for name in {readable}; do head -c 1 /proc/$name 2>/dev/null | wc -c; done | sort -u
for name in {writable}; do test -w /proc/$name && echo "w $name"; (echo 1 >/proc/$name) 2>/dev/null && echo $name; done
ls /proc/acpi /proc/scsi 2>/dev/null | grep -v :; ls -d /sys /run/* /boot /root /var/lib /mnt /home/* 2>/dev/null
for name in / /usr /etc /dev /proc /files /run /run/treadle /home; do touch $name/new 2>/dev/null && echo $name; done
ls /dev | tr '\\n' ' '; ls /dev/pts | tr '\\n' ' '
"""
    done = await run(bubblewrap, make_box(tmp_path), script)
    lines = done.stdout.decode().split("\n")
    assert lines[:2] == ["0", "/home/agent"], lines
    devices = set(lines[2].split())
    assert devices <= {
        *("core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom"),
        "zero",
    }


async def test_of_certificates_only_what_is_public_is_shown(bubblewrap: CheckedSandbox, box: Box) -> None:
    done = await run(
        bubblewrap, box, "find -L /etc/ssl /etc/pki -path '*private*'; ls /etc/ssl/certs >&2 && echo shown"
    )
    assert done.stdout == b"shown\n"


@pytest.fixture
def segment() -> Iterator[int]:
    """The key of a segment of System V that there is on this machine."""
    libc, key = ctypes.CDLL(None, use_errno=True), secrets.randbelow(1 << 30) + 1
    made = libc.shmget(key, 4096, 0o1666)
    assert made >= 0, os.strerror(ctypes.get_errno())
    yield key
    libc.shmctl(made, 0, None)


async def test_segments_of_others_are_not_there(bubblewrap: CheckedSandbox, box: Box, segment: int) -> None:
    """An IPC namespace of its own."""
    script = f"import ctypes; print(ctypes.CDLL(None).shmget({segment}, 0, 0))"
    assert ctypes.CDLL(None).shmget(segment, 0, 0) >= 0
    done = await run_argv(bubblewrap, box, (PYTHON, "-I", "-S", "-c", script), {"PATH": PATH})
    assert done.stdout == b"-1\n", done.stderr


async def test_its_names_are_its_own(bubblewrap: CheckedSandbox, box: Box) -> None:
    done = await run(
        bubblewrap, box, "cat /etc/hosts /etc/resolv.conf /etc/nsswitch.conf; uname -n; cat /proc/self/cgroup"
    )
    said = done.stdout.decode()
    assert "nameserver" not in said
    assert os.uname().nodename not in {*said.split()} - {"localhost", "treadle"}  # a short one is in many a word
    assert {line.split()[0] for line in said.splitlines() if "localhost" in line} == {"127.0.0.1", "::1"}
    assert "treadle-" not in said


async def test_it_has_no_privilege_and_no_way_to_one(bubblewrap: CheckedSandbox, box: Box) -> None:
    done = await run(bubblewrap, box, "cat /proc/self/status")
    found = dict(line.split(":\t", 1) for line in done.stdout.decode().splitlines() if ":\t" in line)
    assert {name: value for name, value in found.items() if name.startswith("Cap")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16
    )
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def traces(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


async def test_its_environment_does_nothing_outside(bubblewrap: CheckedSandbox, box: Box, tmp_path: Path) -> None:
    """A repository may name variables, and the loader obeys some: here it would write down what it loads."""
    trace, inside = tmp_path / "outside", "/workspace/inside"
    for place in (str(trace), inside):
        given = {"PATH": PATH, "LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": place, "ENV": "/nowhere", "SHELLOPTS": "xtrace"}
        done = await run_argv(bubblewrap, box, ("/usr/bin/true",), given)
        assert done.exit_code == 0, done.stderr
    assert not traces(tmp_path, "outside*")
    assert traces(box.work_tree, "inside*")


async def test_a_name_that_no_shell_can_set_is_refused(bubblewrap: CheckedSandbox, box: Box) -> None:
    with pytest.raises(ConfigurationError, match="'a=b; id'"):
        await run_argv(bubblewrap, box, ("true",), {"a=b; id": "x"})


async def test_a_file_left_behind_gives_nobody_a_user(bubblewrap: CheckedSandbox, box: Box) -> None:
    """A worker that is root owns what its agents make."""
    script = "cp /usr/bin/id x; chmod 4755 x; chmod u+s x; install -m 4755 x y; perl -e 'chmod 04755, \"x\"'"
    await run(bubblewrap, box, script)
    made = list(box.work_tree.iterdir())
    assert made
    assert not any(path.stat().st_mode & stat.S_ISUID for path in made)


async def test_a_kernel_that_takes_another_architecture_s_calls_does_not(bubblewrap: CheckedSandbox, box: Box) -> None:
    """`int 0x80` is 32-bit x86's, whose numbers mean other calls: 20 is its getpid, and a number that is allowed."""
    if os.uname().machine != "x86_64":
        pytest.skip("x86-64 only")
    script = """
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")
print("tries", flush=True)
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))())
"""
    done = await run_argv(bubblewrap, box, (PYTHON, "-I", "-c", script), {"PATH": PATH})
    assert done.stdout == b"tries\n"
    assert done.exit_code in {128 + 31, 128 + 11}  # SIGSYS; SIGSEGV where the kernel knows no such calls


def test_the_errors_are_this_machine_s() -> None:
    assert (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT) == (1, 38, 97, 93)
