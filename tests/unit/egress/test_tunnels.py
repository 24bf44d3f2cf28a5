"""CONNECT: bytes both ways, to the end of each."""

import asyncio
import contextlib
import gc
import os
import subprocess
from pathlib import Path

import psutil
import pytest
from tests.support.git_server import GitServer
from tests.support.tcp_proxy import TcpProxy
from tests.unit.egress.scene import PATIENCE, connect, door, echo, hang_up, server, status

from treadle.egress.line import Patience

pytestmark = pytest.mark.anyio


async def test_bytes_both_ways_also_those_sent_too_early() -> None:
    payload = os.urandom(3_000_000)
    async with server(echo) as port, door() as here:
        reader, writer = await here.dial()
        writer.write(connect("a.test", port) + payload[:1000])
        assert status(await reader.readuntil(b"\r\n\r\n")) == 200

        async def send() -> None:
            writer.write(payload[1000:])
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert await asyncio.wait_for(reader.read(-1), PATIENCE) == payload
        await sending
        await hang_up(writer)


async def test_an_end_of_one_direction_leaves_the_other() -> None:
    """As `git` over SSH, or a client that has said all it wants to say."""
    has_ended = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"question"
        await has_ended.wait()
        writer.write(b"answer")
        writer.write_eof()

    async with server(late) as port, door() as here:
        reader, writer = await here.tunnel("a.test", port)
        writer.write(b"question")
        writer.write_eof()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        has_ended.set()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"answer"
        await hang_up(writer)


async def test_the_server_may_end_first() -> None:
    heard = asyncio.get_running_loop().create_future()

    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        heard.set_result(await reader.read())

    async with server(short) as port, door() as here:
        reader, writer = await here.tunnel("a.test", port)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"bye"
        writer.write(b"still there")
        writer.write_eof()
        assert await asyncio.wait_for(heard, PATIENCE) == b"still there"
        await hang_up(writer)


async def test_who_does_not_read_slows_the_other_down() -> None:
    """And neither fills this process: what waits is in the system's buffers, and in one of ours."""
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async with server(flood) as port, door() as here:
        reader, writer = await here.tunnel("a.test", port)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 32 << 20
        writer.transport.abort()


async def test_silence_ends_a_tunnel_and_a_word_keeps_it() -> None:
    async with server(echo) as port, door(patience=Patience(idle=1.0)) as here:
        reader, writer = await here.tunnel("a.test", port)
        clock = asyncio.get_running_loop()
        start = clock.time()
        while clock.time() < start + 2.0:
            writer.write(b"x")
            heard = b""
            with contextlib.suppress(ConnectionError):
                heard = await asyncio.wait_for(reader.read(1), PATIENCE)
            if heard != b"x":
                pytest.skip("this machine is too busy to send a byte a second")
            await asyncio.sleep(0.2)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        await hang_up(writer)


async def test_a_slow_head_is_ended() -> None:
    async with door(patience=Patience(head=0.5)) as here:
        reader, writer = await here.dial()
        answer = asyncio.create_task(reader.read())
        for byte in b"CONNECT a.test:443 HTTP/1.1\r\nHost: " + b"x" * 10_000:
            if answer.done():
                break
            with contextlib.suppress(OSError):
                writer.write(bytes([byte]))
                await writer.drain()
            await asyncio.sleep(0.05)
        assert status(await asyncio.wait_for(answer, PATIENCE)) == 408
        await hang_up(writer)
        assert here.told.connections == []


async def test_leaving_ends_what_is_in_the_middle() -> None:
    endings = asyncio.Queue[str]()

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1 << 16):
                writer.write(bytes(1 << 16))
            endings.put_nowait("end")
        except ConnectionError:
            endings.put_nowait("reset")

    async with server(count) as port:
        async with door() as here:
            lines = [await here.tunnel("a.test", port) for _ in range(5)]
            for _, writer in lines:
                writer.write(bytes(1 << 16))
            for reader, _ in lines:
                await reader.readexactly(1)
            waiting, idle_writer = await here.dial()
        for reader, _ in [*lines, (waiting, idle_writer)]:
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), PATIENCE)
        for _, writer in [*lines, (waiting, idle_writer)]:
            await hang_up(writer)
        assert [await asyncio.wait_for(endings.get(), PATIENCE) for _ in lines] == ["reset"] * 5
        assert not here.path.exists()
        assert not here.path.parent.exists()
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    assert not any("egress" in name or "_serve_one" in name or "_pass_on" in name for name in names)


async def test_the_socket_is_the_owners_alone() -> None:
    async with door() as here:
        assert here.path.parent.stat().st_mode & 0o777 == 0o700
        assert len(str(here.path)) < 100


async def test_ten_thousand_connections_leave_nothing() -> None:
    """In waves, as many at once as there may be and more: refused ones, silent ones, made ones."""
    process = psutil.Process()
    before = process.num_fds()

    async with server(echo) as port, door(f"allow:a.test:{port}", max_connections=64) as here:

        async def one(number: int) -> int:
            reader, writer = await here.dial()
            try:
                if number % 3 == 0:
                    return 0  # hangs up without a word
                writer.write(connect("a.test" if number % 3 == 1 else "b.test", port))
                writer.write_eof()
                return status(await asyncio.wait_for(reader.read(), PATIENCE))
            except ConnectionError:
                return 503  # was turned away before it had spoken
            finally:
                await hang_up(writer)

        found = set[int]()
        sizes = list[int]()
        for wave in range(100):
            found |= set(await asyncio.gather(*(one(wave * 100 + number) for number in range(100))))
            if wave in {20, 99}:
                gc.collect()
                sizes.append(process.memory_info().rss)
                files = process.num_fds()
        assert found <= {0, 200, 403, 503}
        assert {200, 403} <= found
        assert sizes[1] - sizes[0] < 20 << 20
        assert files - before < 200  # of the last wave
        assert len(here.told.connections) <= 1_010


async def test_too_many_at_once() -> None:
    async with server(echo) as port, door(max_connections=2) as here:
        kept = [await here.tunnel("a.test", port) for _ in range(2)]
        assert status(await here.say(b"")) == 503
        await hang_up(kept[0][1])
        for _ in range(100):
            reader, writer = await here.dial()
            with contextlib.suppress(ConnectionError):  # turned away before it had spoken
                writer.write(connect("a.test", port))
                is_taken = status(await asyncio.wait_for(reader.readline(), PATIENCE)) == 200
                await hang_up(writer)
                if is_taken:
                    break
            await asyncio.sleep(0.05)  # until the end of the first is seen
        else:
            pytest.fail("the place was never free again")
        await hang_up(kept[1][1])


async def test_git_clones_through_it(tmp_path: Path) -> None:
    """The real one, over HTTP, through a port as inside a box."""
    with GitServer() as git:
        git.create("acme/demo", {"README.md": "# Demo\n"})
        address = git.url("acme/demo")
        port = int(address.split(":")[2].split("/")[0])
        async with door(f"allow:git.test:{port}") as here:
            with TcpProxy(here.path) as link:
                environment = {
                    **os.environ,
                    **dict.fromkeys(("http_proxy", "https_proxy"), f"http://127.0.0.1:{link.port}"),
                    "no_proxy": "",
                    "GIT_CONFIG_GLOBAL": "/dev/null",
                }

                async def clone(url: str, to: str) -> subprocess.CompletedProcess[str]:
                    return await asyncio.to_thread(
                        subprocess.run,
                        ["git", "clone", "-q", url, str(tmp_path / to)],
                        env=environment,
                        capture_output=True,
                        text=True,
                        timeout=120,
                        check=False,
                    )

                done = await clone(address.replace("127.0.0.1", "git.test"), "one")
                assert done.returncode == 0, done.stderr
                assert (tmp_path / "one/README.md").read_text() == "# Demo\n"
                done = await clone(address, "two")  # by an address, which the policy does not name
                assert done.returncode != 0
                assert "403" in done.stderr
        assert {each.refusal is None for each in here.told.connections} == {True, False}


async def test_curl_tunnels_through_it(tmp_path: Path) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
        await writer.drain()
        await reader.read()

    async with server(hello) as port, door(f"allow:a.test:{port}") as here:
        with TcpProxy(here.path) as link:

            async def curl(*arguments: str) -> str:
                command = ["curl", "-sS", "-m", "120", "-x", f"http://127.0.0.1:{link.port}", *arguments]
                done = await asyncio.to_thread(
                    subprocess.run, command, capture_output=True, text=True, timeout=120, check=False
                )
                return done.stdout + done.stderr

            assert await curl("--proxytunnel", f"http://a.test:{port}/") == "hello\n"
            assert await curl(f"http://a.test:{port}/") == "hello\n"
            assert "403" in await curl("--proxytunnel", f"http://b.test:{port}/")
            assert "does not allow b.test" in await curl(f"http://b.test:{port}/")
