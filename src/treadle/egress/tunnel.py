"""Bytes both ways between two sockets, until both have said that no more come."""

import asyncio
import socket

from treadle.egress.idle import Idle
from treadle.egress.speaker import CHUNK_BYTES


async def tunnel(one: socket.socket, other: socket.socket, early: bytes, seconds: float) -> None:
    """`early`: what `one` has already sent. An end of one direction is passed on while the other goes on. Raises
    OSError (in a group, too) when a side breaks off, TimeoutError when nothing has moved for `seconds`."""
    async with Idle(seconds) as idle, asyncio.TaskGroup() as directions:
        directions.create_task(_pass_on(one, other, early, idle))
        directions.create_task(_pass_on(other, one, b"", idle))


async def _pass_on(source: socket.socket, sink: socket.socket, early: bytes, idle: Idle) -> None:
    """No more is read than the sink has taken: whoever does not read slows the other down, and fills nothing here."""
    loop = asyncio.get_running_loop()
    if early:
        await loop.sock_sendall(sink, early)
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while size := await loop.sock_recv_into(source, buffer):
        idle.moved()
        await loop.sock_sendall(sink, buffer[:size])
        idle.moved()
    sink.shutdown(socket.SHUT_WR)
