"""The system calls that no agent needs, refused by the kernel: a second wall behind the namespaces.

A filter is a program of classic BPF that the kernel runs at every system call. It refuses what reaches past a user
namespace into code of the kernel that was written for root: mounts, namespaces, kernel modules, keys, tracing, odd
kinds of sockets. `AF_VSOCK` above all, which leads to the hypervisor from within every network namespace.

`ptrace` and `process_vm_*` are left alone: they reach only what shares the process namespace, which is nobody but the
command itself, and debuggers and the leak sanitizer work by them.

Refused means the error that programs are used to, EPERM mostly. `clone3` and `openat2` are said not to exist, since a
filter cannot look at what their pointers point to, and every caller falls back on the older call; so is every call
that is newer than this table.

Calls of another architecture than the machine's own end the process.

`python -m treadle.sandbox.seccomp` writes the filters where `filter_of` finds them: bubblewrap takes one from a file,
and one that lies beside the code needs no place to be written to, and none to be cleaned.
"""

import errno
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.sandbox.system_calls import NEWEST, NUMBERS

#: A segment of System V is smaller, and a set of its semaphores. Powers of two.
MAX_SEGMENT_BYTES: Final = 16 * 1024
MAX_SEMAPHORES: Final = 64

_FOLDER: Final = Path(__file__).with_name("filters")

#: By machine, as `os.uname` names it: AUDIT_ARCH_…, and its column of NUMBERS.
_MACHINES: Final[Mapping[str, tuple[int, int]]] = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}

_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_LOAD, _AND_SET, _EQUAL, _GREATER, _RETURN = 0x20, 0x45, 0x15, 0x25, 0x06
_AT_NUMBER, _AT_MACHINE, _AT_ARGUMENTS = 0, 4, 16


@dataclass(frozen=True, slots=True)
class _When:
    """Of one argument's lower 32 bits, which is all that the kernel itself looks at of most: one of `bits` is set, or
    it is (`is_in`), or is not, one of `values`. `is_upper`: of its upper 32 bits."""

    argument: int
    bits: int = 0
    values: tuple[int, ...] = ()
    is_in: bool = True
    is_upper: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    """Refuses `calls` with `error` when all of `when` holds."""

    calls: tuple[str, ...]
    error: int = errno.EPERM
    when: tuple[_When, ...] = ()


_NEW_NAMESPACES = 0x7E02_0000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
_NEW_TIME = 0x80  # in `clone` these bits are the signal's
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_ROUTE = 0  # the protocol of netlink that lists interfaces
_IP_PROTOCOLS = (0, 1, 6, 17, 58, 262)  # any, ICMP, TCP, UDP, ICMPv6, MPTCP; others load modules of the kernel
_TERMINAL_INPUT = (0x5412, 0x541C, 0x5423)  # TIOCSTI, TIOCLINUX, and TIOCSETD, which loads modules
_PERSONALITIES = (0, 0x8, 0x20000, 0x20008, 0x40000, 0xFFFF_FFFF)  # Linux's own; 0x40000 is the sanitizers'
_SET_UID = 0o4000
_CREATES = 0o100 | 0o20000000  # O_CREAT, O_TMPFILE

#: The first that fits decides.
_RULES: Final[Sequence[_Rule]] = (
    _Rule(("mount", "umount2", "pivot_root", "chroot")),
    _Rule(("fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "open_tree_attr", "move_mount", "mount_setattr")),
    _Rule(("clone3", "openat2"), errno.ENOSYS),
    _Rule(("clone",), when=(_When(0, bits=_NEW_NAMESPACES),)),
    _Rule(("unshare",), when=(_When(0, bits=_NEW_NAMESPACES | _NEW_TIME),)),
    _Rule(("setns",)),
    # Code and state of the kernel.
    _Rule(("bpf", "perf_event_open", "userfaultfd", "kcmp", "lookup_dcookie", "modify_ldt", "uselib")),
    _Rule(("io_uring_setup", "io_uring_enter", "io_uring_register")),
    _Rule(("create_module", "init_module", "finit_module", "delete_module", "query_module", "get_kernel_syms")),
    _Rule(("kexec_load", "kexec_file_load", "_sysctl", "sysfs", "ustat", "nfsservctl", "syslog")),
    _Rule(("add_key", "request_key", "keyctl")),
    # The machine and its clock.
    _Rule(("reboot", "swapon", "swapoff", "acct", "vhangup", "ioperm", "iopl", "sethostname", "setdomainname")),
    _Rule(("settimeofday", "clock_settime", "adjtimex", "clock_adjtime")),
    # Files past their paths, and quotas.
    _Rule(("name_to_handle_at", "open_by_handle_at", "fanotify_init", "quotactl", "quotactl_fd")),
    # Memory of other nodes and processes.
    _Rule(("get_mempolicy", "set_mempolicy", "set_mempolicy_home_node", "mbind", "migrate_pages", "move_pages")),
    _Rule(("vmsplice",)),
    # System V's, which nobody outside its namespace can count: what PostgreSQL and fakeroot need of it goes on.
    _Rule(("shmget",), errno.EINVAL, (_When(1, bits=-MAX_SEGMENT_BYTES & 0xFFFF_FFFF),)),
    _Rule(("shmget",), errno.EINVAL, (_When(1, bits=0xFFFF_FFFF, is_upper=True),)),
    _Rule(("semget",), errno.EINVAL, (_When(1, bits=-MAX_SEMAPHORES & 0xFFFF_FFFF),)),
    _Rule(("personality",), when=(_When(0, values=_PERSONALITIES, is_in=False),)),
    _Rule(("ioctl",), when=(_When(1, values=_TERMINAL_INPUT),)),
    # Sockets.
    _Rule(("socket",), errno.EAFNOSUPPORT, (_When(0, values=(_UNIX, _INET, _INET6, _NETLINK), is_in=False),)),
    _Rule(
        ("socket",),
        errno.EPROTONOSUPPORT,
        (_When(0, values=(_INET, _INET6)), _When(2, values=_IP_PROTOCOLS, is_in=False)),
    ),
    _Rule(("socket",), errno.EPROTONOSUPPORT, (_When(0, values=(_NETLINK,)), _When(2, values=(_ROUTE,), is_in=False))),
    _Rule(("socketpair",), errno.EAFNOSUPPORT, (_When(0, values=(_UNIX,), is_in=False),)),
    # A program that runs as its owner. For a worker that is root that owner would be root, outside too.
    _Rule(("chmod", "fchmod", "creat", "mknod"), when=(_When(1, bits=_SET_UID),)),
    _Rule(("fchmodat", "fchmodat2", "mknodat"), when=(_When(2, bits=_SET_UID),)),
    _Rule(("open",), when=(_When(1, bits=_CREATES), _When(2, bits=_SET_UID))),
    _Rule(("openat",), when=(_When(2, bits=_CREATES), _When(3, bits=_SET_UID))),
)


def filter_of(machine: str) -> Path | None:
    """The file that holds the filter for a machine, as `os.uname` names it; None where there is none for it."""
    return _FOLDER / f"{machine}.bpf" if machine in _MACHINES else None


def assemble(machine: str) -> bytes:
    """The filter as `bwrap --seccomp` reads it. Raises KeyError for an unknown machine."""
    audit, column = _MACHINES[machine]
    code = [
        *_load(_AT_MACHINE),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL),
        *_load(_AT_NUMBER),
        (_GREATER, 0, 1, NEWEST),  # and whatever has x32's bit
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for number, rules in sorted(_by_number(column).items()):
        body = [instruction for rule in rules for instruction in _refusal(rule)]
        if rules[-1].when:
            body.append((_RETURN, 0, 0, _ALLOW))
        code += [(_EQUAL, 0, len(body), number), *body]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


_Instruction = tuple[int, int, int, int]  # code, how far to jump if true, if false, operand


def _by_number(column: int) -> dict[int, list[_Rule]]:
    found: dict[int, list[_Rule]] = {}
    for rule in _RULES:
        for call in rule.calls:
            number = NUMBERS[call][column]
            if number is not None:
                found.setdefault(number, []).append(rule)
    return found


def _refusal(rule: _Rule) -> list[_Instruction]:
    """Falls through when it does not apply."""
    code: list[_Instruction] = [(_RETURN, 0, 0, _ERRNO | rule.error)]
    for when in reversed(rule.when):
        code = [*_load(_AT_ARGUMENTS + 8 * when.argument + 4 * when.is_upper), *_test(when, len(code)), *code]
    return code


def _test(when: _When, rest: int) -> list[_Instruction]:
    """Goes on if it holds; else jumps over the `rest` of its rule."""
    if when.bits:
        return [(_AND_SET, 0, rest, when.bits)]
    code: list[_Instruction] = []
    for left in reversed(range(len(when.values))):
        value = when.values[-1 - left]
        if not when.is_in:
            code.append((_EQUAL, rest + left, 0, value))
        else:
            code.append((_EQUAL, left, 0 if left else rest, value))
    return code


def _load(offset: int) -> list[_Instruction]:
    return [(_LOAD, 0, 0, offset)]


def main() -> None:
    """Writes every filter."""
    _FOLDER.mkdir(exist_ok=True)
    for machine in _MACHINES:
        (_FOLDER / f"{machine}.bpf").write_bytes(assemble(machine))


if __name__ == "__main__":
    main()
