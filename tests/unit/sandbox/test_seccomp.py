"""The filter as a program: run here as the kernel runs it, on every machine that it is for."""

import errno
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.sandbox.seccomp import _RULES, assemble, filter_of
from treadle.sandbox.system_calls import NEWEST, NUMBERS

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMNS = {"x86_64": 0, "aarch64": 1}
ALLOW, KILL = "allow", "kill"


def run(program: bytes, number: int, arguments: tuple[int, ...] = (), *, audit: int) -> str | int:
    """What the kernel would do: "allow", "kill" or an error number."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at = accumulator = 0
    for _ in range(len(code)):
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x06:
            actions: dict[int, str | int] = {0x7FFF0000: ALLOW, 0x80000000: KILL}
            return actions.get(operand & 0xFFFF0000, int(operand & 0xFFFF))
        else:
            holds = {
                0x15: accumulator == operand,
                0x25: accumulator > operand,
                0x45: bool(accumulator & operand),
            }[operation]
            at += if_true if holds else if_false
    raise AssertionError("it does not end")


def on(machine: str, call: str, *arguments: int) -> str | int:
    number = NUMBERS[call][COLUMNS[machine]]
    assert number is not None
    return run(assemble(machine), number, arguments, audit=MACHINES[machine])


@pytest.mark.parametrize("machine", MACHINES)
def test_what_lies_beside_the_code_is_what_the_code_makes(machine: str) -> None:
    """`python -m treadle.sandbox.seccomp` writes it."""
    path = filter_of(machine)
    assert path is not None
    assert path.read_bytes() == assemble(machine)


def test_an_unknown_machine_has_none() -> None:
    assert filter_of("riscv64") is None


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_the_kernel_s(machine: str) -> None:
    """Where its headers are installed."""
    places = {
        "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        "aarch64": Path("/usr/include/asm-generic/unistd.h"),
    }
    if not places[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    known: dict[str, int] = {}
    for line in places[machine].read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[2].isdecimal():
            known[words[1].removeprefix("__NR3264_").removeprefix("__NR_")] = int(words[2])
    ours = {name: numbers[COLUMNS[machine]] for name, numbers in NUMBERS.items()}
    newer = {"fchmodat2", "open_tree_attr"}  # than some headers
    assert {name: known.get(name) for name in ours if name not in newer} == {
        name: number for name, number in ours.items() if name not in newer
    }
    assert max(known.values(), default=0) <= NEWEST


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_without_a_condition_is_refused(machine: str) -> None:
    for rule in _RULES:
        for call in rule.calls:
            if not rule.when and NUMBERS[call][COLUMNS[machine]] is not None:
                assert on(machine, call) == rule.error, call


CONDITIONAL: Mapping[tuple[str, tuple[int, ...]], str | int] = {
    ("clone", (0x11,)): ALLOW,
    ("clone", (0x003D0F00,)): ALLOW,  # a thread
    ("clone", (0x10000011,)): errno.EPERM,
    ("clone", (0x00020011,)): errno.EPERM,
    ("clone", (0x80,)): ALLOW,  # a signal's number there
    ("unshare", (0x600,)): ALLOW,  # files
    ("unshare", (0x80,)): errno.EPERM,
    ("unshare", (0x40000000,)): errno.EPERM,
    ("personality", (0xFFFFFFFF,)): ALLOW,
    ("personality", (0x0400000,)): errno.EPERM,
    ("ioctl", (0, 0x5413)): ALLOW,
    ("ioctl", (0, 0x5412)): errno.EPERM,
    ("ioctl", (0, 0xFFFFFFFF_00005412)): errno.EPERM,
    ("socket", (1, 1, 0)): ALLOW,
    ("socket", (2, 1, 6)): ALLOW,
    ("socket", (10, 2, 17)): ALLOW,
    ("socket", (2, 1, 132)): errno.EPROTONOSUPPORT,
    ("socket", (16, 3, 0)): ALLOW,
    ("socket", (16, 3, 12)): errno.EPROTONOSUPPORT,
    ("socket", (40, 1, 0)): errno.EAFNOSUPPORT,
    ("socket", (0x1_00000028, 1, 0)): errno.EAFNOSUPPORT,
    ("socketpair", (1, 1, 0)): ALLOW,
    ("socketpair", (30, 1, 0)): errno.EAFNOSUPPORT,
    ("shmget", (0, 0x3FFF)): ALLOW,
    ("shmget", (0, 0x4000)): errno.EINVAL,
    ("shmget", (0, 0x1_00000000)): errno.EINVAL,
    ("semget", (0, 20)): ALLOW,
    ("semget", (0, 64)): errno.EINVAL,
    ("fchmod", (3, 0o2775)): ALLOW,
    ("fchmod", (3, 0o4755)): errno.EPERM,
    ("fchmodat", (3, 0, 0o4755)): errno.EPERM,
    ("openat", (3, 0, 0, 0o4755)): ALLOW,  # nothing is made
    ("openat", (3, 0, 0o100, 0o644)): ALLOW,
    ("openat", (3, 0, 0o100, 0o4755)): errno.EPERM,
    ("openat", (3, 0, 0o20200000, 0o4755)): errno.EPERM,
    ("mknodat", (3, 0, 0o10644)): ALLOW,
    ("mknodat", (3, 0, 0o104755)): errno.EPERM,
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("call", "arguments"), CONDITIONAL)
def test_a_call_is_judged_by_its_arguments(machine: str, call: str, arguments: tuple[int, ...]) -> None:
    assert on(machine, call, *arguments) == CONDITIONAL[call, arguments]


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, NEWEST))
def test_every_other_call_is_allowed(machine: str, number: int) -> None:
    named = {numbers[COLUMNS[machine]] for numbers in NUMBERS.values()}
    if number not in named:
        assert run(assemble(machine), number, audit=MACHINES[machine]) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(NEWEST + 1, 0xFFFFFFFF))
def test_what_is_newer_does_not_exist(machine: str, number: int) -> None:
    assert run(assemble(machine), number, audit=MACHINES[machine]) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 0xFFFFFFFF), audit=st.integers(0, 0xFFFFFFFF))
def test_another_architecture_s_calls_end_the_process(machine: str, number: int, audit: int) -> None:
    if audit != MACHINES[machine]:
        assert run(assemble(machine), number, audit=audit) == KILL
