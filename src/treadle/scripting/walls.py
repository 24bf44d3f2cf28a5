"""What is around an interpreter, should a script ever get out of the language: no file can be opened, no connection
made and no process started, and memory and processor time end. Set from within, and never to be undone.

The limits hold everywhere. The filter of system calls is the kernel's own, for the machines of `_NUMBERS`; it lets pass
what an interpreter needs that has imported all that it will, and answers EPERM to everything else.
"""

import ctypes
import errno
import os
import resource
import struct
from typing import Final

#: What an interpreter goes on with: its line, its memory, its end.
_NUMBERS: Final = {
    "x86_64": (
        0xC000_003E,
        # read write close mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn sched_yield mremap
        # madvise exit sigaltstack futex restart_syscall clock_gettime exit_group getrandom
        (0, 1, 3, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 60, 131, 202, 219, 228, 231, 318),
    ),
    "aarch64": (
        0xC000_00B7,
        (63, 64, 57, 222, 226, 215, 214, 134, 135, 139, 124, 216, 233, 93, 132, 98, 128, 113, 94, 278),
    ),
}

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def limit(memory_bytes: int, cpu_seconds: int) -> None:
    """Past the processor time the kernel ends this process; past the memory Python raises MemoryError."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    for one in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(one, (0, 0))


def close_in() -> bool:
    """Whether the kernel took the filter; without one the limits and the language are the walls."""
    known = _NUMBERS.get(os.uname().machine)
    if known is None:
        return False
    code = _filter(*known)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(instructions, ctypes.c_void_p).value)
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    if prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(_SECCOMP, _FILTER, ctypes.addressof(program), 0, 0) == 0)


def _filter(machine: int, allowed: tuple[int, ...]) -> bytes:
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for number in allowed:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    code.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return b"".join(struct.pack("<HBBI", *one) for one in code)
