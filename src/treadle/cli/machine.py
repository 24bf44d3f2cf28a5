"""The checks of `treadle doctor` on this machine: its disk, its memory, its ports, its clock."""

import asyncio
import errno
import http.client
import json
import os
import shutil
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from treadle.cli.file_use import network_file_system
from treadle.cli.findings import Check, Level
from treadle.domain.sizes import show_size
from treadle.settings import Settings
from treadle.workspace.memory import PrivateMemory

#: Free bytes on the data directory's disk: below the first it is tight, below the second nothing will work.
_TIGHT_BYTES: Final = 2 << 30
_FULL_BYTES: Final = 100 << 20

#: Of /dev/shm: Docker gives 64 MiB, and one conversation may take 256.
_SMALL_MEMORY_BYTES: Final = 256 << 20

_PORT_SECONDS: Final = 3.0

#: How a process that listens everywhere is reached from here.
_REACHED_BY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, not bound to


async def data_dir(settings: Settings) -> Check:
    path = settings.data_dir
    hint = "TREADLE_DATA_DIR names another place."
    there = next((place for place in (path, *path.parents) if place.exists()), Path("/"))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check("data", Level.PROBLEM, f"{path} cannot be written to", hint)
    free = shutil.disk_usage(there).free
    said = f"{path}{'' if there == path else ' (made at the first start)'}, {free / (1 << 30):.1f} GiB free"
    if free < settings.min_free_bytes:
        said = f"{said}, less than TREADLE_MIN_FREE_BYTES ({show_size(settings.min_free_bytes)}): no run is taken"
        return Check("data", Level.PROBLEM, said, f"Free some space; {hint}")
    if free < _FULL_BYTES:
        return Check("data", Level.PROBLEM, said, f"Free some space; {hint}")
    if kind := network_file_system(there):
        local = "Mirrors and clones need a disk of this machine's own: a network's is slow, and its locks may fail."
        return Check("data", Level.WARNING, f"{said}, on a network's file system ({kind})", local)
    if there == path and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Check("data", Level.WARNING, f"{said}, open to other users", f"chmod 700 {path}")
    return Check("data", Level.WARNING if free < _TIGHT_BYTES else Level.OK, said, f"Free some space; {hint}")


async def memory(shared: Path) -> Check:
    """Where an engine's own state is kept during a run."""
    hint = "Mount one; a container gets it by --shm-size, a pod by an emptyDir of the medium Memory."
    if not PrivateMemory(shared, "doctor").is_usable():
        said = f"{shared} cannot be used: engines' conversations and tokens are kept on the disk"
        return Check("memory", Level.WARNING, said, hint)
    usage = shutil.disk_usage(shared)
    said = f"{shared} of {show_size(usage.total)}, {show_size(usage.free)} free"
    return Check("memory", Level.OK if usage.total >= _SMALL_MEMORY_BYTES else Level.WARNING, said, hint)


async def port(name: str, host: str, port: int | None) -> Check:
    """Whether it is free, or a service that runs has it already."""
    if port is None:
        return Check(name, Level.OK, "none")
    shown = f"{f'[{host}]' if ':' in host else host}:{port}"
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and await asyncio.to_thread(_is_treadle, host, port):
            return Check(name, Level.OK, f"{shown}, where a Treadle answers")
        said = f"{shown} cannot be listened on: {error.strerror}"
        return Check(name, Level.PROBLEM, said, "Set another host or port, or end what has it.")
    return Check(name, Level.OK, f"{shown} is free")


def _is_treadle(host: str, port: int) -> bool:
    """Past any proxy, and with nothing sent but the question."""
    connection = http.client.HTTPConnection(_REACHED_BY.get(host, host), port, timeout=_PORT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return bool(json.loads(connection.getresponse().read(1024)) == {"status": "ok"})
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


async def clock() -> Check:
    now, installed = datetime.now(UTC), datetime.fromtimestamp(_installed(), UTC)
    said = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    if now < installed:
        return Check("clock", Level.PROBLEM, f"{said} is before Treadle was installed", "Set the machine's clock.")
    return Check("clock", Level.OK, said)


def _installed() -> float:
    return Path(__file__).stat().st_mtime
