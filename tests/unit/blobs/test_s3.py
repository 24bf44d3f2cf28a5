"""What only S3 can get wrong: a service that is away, silent or strange; uploads in parts; memory; threads."""

import asyncio
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from anyio import to_thread
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.support.s3 import KEY, READER, SECRET, Bucket, S3Server
from tests.support.tcp_proxy import TcpProxy

from treadle.blobs import s3
from treadle.blobs.places import open_blobs
from treadle.domain.errors import ConfigurationError, NotFound, Unavailable
from treadle.ports import Blobs
from treadle.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.s3]

#: However long a call takes when the service does not work: the tries, their pauses, and a busy machine.
BOUND_SECONDS = 60.0


def blobs_of(tmp_path: Path, given: dict[str, str]) -> Blobs:
    settings = Settings.load({f"TREADLE_{name}": value for name, value in given.items()}, data_dir=tmp_path / "data")
    return open_blobs(settings.blob_url, settings)


@pytest.fixture
def blobs(tmp_path: Path, s3_bucket: Bucket) -> Blobs:
    return blobs_of(tmp_path, dict(s3_bucket.settings))


@pytest.fixture
def insistent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again once, instead of for half a minute; and hears an answer that comes late."""
    monkeypatch.setattr(s3, "MAX_RETRIES", 1)
    monkeypatch.setattr(s3, "CONNECT_SECONDS", 30)
    monkeypatch.setattr(s3, "SILENCE_SECONDS", 30)


async def every_call(blobs: Blobs) -> dict[str, Exception]:
    """What each call of the port raises."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000

    async def first_entry() -> None:
        await anext(blobs.entries())

    async def first_chunk() -> None:
        await anext(blobs.stream("a/b"))

    calls = {
        "put": lambda: blobs.put("a/b", b"x"),
        "put large": lambda: blobs.put("a/b", b"x" * 6_000_000),
        "put pieces": lambda: blobs.put("a/b", pieces()),
        "get": lambda: blobs.get("a/b"),
        "stream": first_chunk,
        "delete": lambda: blobs.delete("a/b"),
        "delete_prefix": lambda: blobs.delete_prefix("a"),
        "entries": first_entry,
        "check": blobs.check,
    }
    found: dict[str, Exception] = {}
    for name, call in calls.items():
        with anyio.fail_after(BOUND_SECONDS):
            try:
                await call()
            except (ConfigurationError, NotFound) as error:
                found[name] = error
    assert found.keys() == calls.keys()
    return found


# ---- the service


async def test_bytes_survive_the_service(tmp_path: Path, own_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_s3.bucket() as bucket:
        blobs = blobs_of(tmp_path, dict(bucket.settings))
        await blobs.put("a/small", b"x")
        await blobs.put("a/large", b"y" * 12_000_000)
        own_s3.restart()
        assert await blobs.get("a/small") == b"x"
        assert await blobs.get("a/large") == b"y" * 12_000_000
        own_s3.kill9()
        with anyio.fail_after(BOUND_SECONDS), pytest.raises(Unavailable):
            await blobs.get("a/small")
        monkeypatch.setattr(s3, "MAX_RETRIES", 1)  # or it takes a minute to try them all
        for name, error in (await every_call(blobs_of(tmp_path, dict(bucket.settings)))).items():
            assert isinstance(error, Unavailable), (name, error)
            assert "the connection is refused" in error.message
            assert own_s3.endpoint in error.message
        own_s3.start()
        assert await blobs.get("a/small") == b"x"
        await blobs.check()


async def test_a_short_absence_is_bridged(tmp_path: Path, s3_bucket: Bucket) -> None:
    with TcpProxy(("127.0.0.1", port_of(s3_bucket.endpoint))) as link:
        given = {**s3_bucket.settings, "S3_ENDPOINT": f"http://127.0.0.1:{link.port}"}
        blobs = blobs_of(tmp_path, given)
        link.cut()
        threading.Timer(0.3, link.heal).start()
        await blobs.put("a", b"x")
        assert await blobs.get("a") == b"x"


async def test_a_stream_goes_on_after_its_connection_broke(tmp_path: Path, s3_bucket: Bucket) -> None:
    content = os.urandom(1 << 20) * 30
    with TcpProxy(("127.0.0.1", port_of(s3_bucket.endpoint))) as link:
        blobs = blobs_of(tmp_path, {**s3_bucket.settings, "S3_ENDPOINT": f"http://127.0.0.1:{link.port}"})
        await blobs.put("a", content)
        stream = blobs.stream("a")
        found = [await anext(stream)]
        link.cut()
        link.heal()
        found += [chunk async for chunk in stream]
    assert b"".join(found) == content


async def test_a_stream_of_what_was_replaced_meanwhile_is_told(tmp_path: Path, s3_bucket: Bucket) -> None:
    """Where the rest of the old version cannot be had any more, nobody gets the rest of another one."""
    with TcpProxy(("127.0.0.1", port_of(s3_bucket.endpoint))) as link:
        blobs = blobs_of(tmp_path, {**s3_bucket.settings, "S3_ENDPOINT": f"http://127.0.0.1:{link.port}"})
        await blobs.put("a", b"a" * (30 << 20))
        stream = blobs.stream("a")
        await anext(stream)
        await blobs.put("a", b"b" * (30 << 20))
        link.cut()
        link.heal()
        letters = set[int]()
        with pytest.raises(Unavailable):
            await consume(stream, letters)
        assert letters == {*b"a"}


async def consume(stream: AsyncIterator[bytes], letters: set[int]) -> None:
    async for chunk in stream:
        letters |= set(chunk)


@pytest.mark.usefixtures("insistent_once")
async def test_a_silent_service_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "SILENCE_SECONDS", 1)
    monkeypatch.setattr(s3, "RETRY_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        blobs = blobs_of(tmp_path, elsewhere(silent.getsockname()[1]))
        for name, error in (await every_call(blobs)).items():
            assert isinstance(error, Unavailable), (name, error)
            assert "it is silent" in error.message


ANSWERS = {
    "500": (b"500 Internal Server Error", b"", "it answers 500."),
    "503": (b"503 Slow Down", b"<Error><Code>SlowDown</Code></Error>", "it answers 503, SlowDown."),
    "429": (b"429 Too Many Requests", b"", "it answers 429."),
}


@pytest.mark.usefixtures("insistent_once")
@pytest.mark.parametrize(("status", "body", "said"), ANSWERS.values(), ids=ANSWERS)
async def test_trouble_that_may_pass_is_unavailable(tmp_path: Path, status: bytes, body: bytes, said: str) -> None:
    with answering(status, body) as (port, requests):
        for name, error in (await every_call(blobs_of(tmp_path, elsewhere(port)))).items():
            assert isinstance(error, Unavailable), (name, error)
            assert error.message.endswith(said)
        assert len(requests) > 9  # each was tried again


MENDABLE = {
    "region": (b"301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code></Error>", "TREADLE_S3_REGION"),
    "clock": (b"403 Forbidden", b"<Error><Code>RequestTimeTooSkewed</Code></Error>", "clock"),
    "token": (b"400 Bad Request", b"<Error><Code>ExpiredToken</Code></Error>", "AWS_SESSION_TOKEN"),
    "policy": (b"403 Forbidden", b"", "docs/how-to/s3.md"),
    "not s3": (b"405 Method Not Allowed", b"<html>", "TREADLE_S3_ENDPOINT"),
}


@pytest.mark.parametrize(("status", "body", "hint"), MENDABLE.values(), ids=MENDABLE)
async def test_what_an_operator_must_mend_is_named(tmp_path: Path, status: bytes, body: bytes, hint: str) -> None:
    with answering(status, body) as (port, _):
        for name, error in (await every_call(blobs_of(tmp_path, elsewhere(port)))).items():
            assert isinstance(error, ConfigurationError), (name, error)
            assert not isinstance(error, Unavailable), (name, error)
            assert hint in str(error.hint)


WRONG = {
    "secret": ({"S3_SECRET_ACCESS_KEY": "not-the-secret"}, "secret to the access key", "TREADLE_S3_SECRET_ACCESS_KEY"),
    "key": ({"S3_ACCESS_KEY_ID": "nobody"}, "does not know the access key", "TREADLE_S3_ACCESS_KEY_ID"),
    "bucket": ({"BLOB_URL": "s3://no-such-bucket/a"}, "no bucket no-such-bucket", "TREADLE_BLOB_URL"),
}


@pytest.mark.parametrize(("change", "said", "hint"), WRONG.values(), ids=WRONG)
async def test_wrong_settings_are_named(
    tmp_path: Path, s3_bucket: Bucket, change: dict[str, str], said: str, hint: str
) -> None:
    blobs = blobs_of(tmp_path, {**s3_bucket.settings, **change})
    for name, error in (await every_call(blobs)).items():
        assert isinstance(error, ConfigurationError), (name, error)
        assert not isinstance(error, Unavailable), (name, error)
        assert said in error.message, name
        assert hint in str(error.hint), name
        assert SECRET not in f"{error!r} {error.sentence()} {error.__cause__!r}"
        assert "not-the-secret" not in f"{error!r} {error.sentence()} {error.__cause__!r}"
    assert SECRET not in repr(vars(blobs))


@pytest.mark.usefixtures("insistent_once")
async def test_a_certificate_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    with answering(b"200 OK", b"", tls=certificate(tmp_path)) as (port, requests):
        given = {**elsewhere(port), "S3_ENDPOINT": f"https://127.0.0.1:{port}"}
        for name, error in (await every_call(blobs_of(tmp_path, given))).items():
            assert "is not trusted" in str(error), (name, error)
            assert "SSL_CERT_FILE" in str(getattr(error, "hint", "")), (name, error)
            assert not isinstance(error, Unavailable)
        assert requests == []


async def test_a_key_that_may_only_read_fails_the_check(tmp_path: Path, s3_bucket: Bucket) -> None:
    blobs = blobs_of(tmp_path, {**s3_bucket.settings, "S3_ACCESS_KEY_ID": READER})
    with pytest.raises(ConfigurationError, match="does not let this key") as refused:
        await blobs.check()
    assert not isinstance(refused.value, Unavailable)


async def test_the_environments_token_is_not_sent_with_our_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-key")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another-key")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with answering(b"200 OK", b"") as (port, requests), pytest.raises(Unavailable):
        await blobs_of(tmp_path, elsewhere(port)).put("a", b"x")
    assert requests
    assert not [each for each in requests if b"of-another-key" in each or f"Credential={KEY}/".encode() not in each]


async def test_without_a_key_the_environments_counts(
    tmp_path: Path, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    given = {name: value for name, value in s3_bucket.settings.items() if "KEY" not in name}
    await blobs_of(tmp_path, given).check()


# ---- the bucket


async def test_others_things_in_the_bucket_are_left_alone(tmp_path: Path, s3_bucket: Bucket) -> None:
    given = dict(s3_bucket.settings)
    blobs = blobs_of(tmp_path, {**given, "BLOB_URL": f"s3://{s3_bucket.name}/some/prefix"})
    other = blobs_of(tmp_path, {**given, "BLOB_URL": f"s3://{s3_bucket.name}/some/prefix-2"})
    whole = blobs_of(tmp_path, {**given, "BLOB_URL": f"s3://{s3_bucket.name}"})
    s3_bucket.put("some/prefix/READ ME", b"not ours")
    for each in (blobs, other, whole):
        await each.put("runs/1/a", b"x")
    assert [entry.key async for entry in blobs.entries()] == ["runs/1/a"]
    await blobs.delete_prefix("runs")
    assert sorted(s3_bucket.objects()) == ["runs/1/a", "some/prefix-2/runs/1/a", "some/prefix/READ ME"]
    await blobs.check()
    await other.check()
    assert sorted(s3_bucket.objects()) == ["runs/1/a", "some/prefix-2/runs/1/a", "some/prefix/READ ME"]


async def test_many_check_at_once(blobs: Blobs) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(blobs.check)
    assert [entry async for entry in blobs.entries()] == []


# ---- uploads


@pytest.mark.parametrize("by_asyncio", [False, True], ids=["anyio", "asyncio"])
async def test_a_cancelled_upload_is_forgotten_by_the_service(
    tmp_path: Path, s3_bucket: Bucket, blobs: Blobs, by_asyncio: bool
) -> None:
    """Cancelled in the middle of its parts, by either way that there is: no object, no parts, and then nothing."""
    await blobs.put("kept", b"before")
    source = tmp_path / "source"
    os.mkfifo(source)
    feeder = threading.Thread(target=feed, args=(source,))
    feeder.start()
    async with anyio.create_task_group() as tasks:
        task = await started(tasks, blobs, source)
        with anyio.fail_after(BOUND_SECONDS):
            while not s3_bucket.uploads():  # noqa: ASYNC110 - only the service knows
                await anyio.sleep(0.02)
        if by_asyncio:
            task.cancel()
        else:
            tasks.cancel_scope.cancel()
    await to_thread.run_sync(feeder.join)
    assert s3_bucket.uploads() == []
    assert s3_bucket.objects() == ["some/prefix/kept"]
    assert await blobs.get("kept") == b"before"


def feed(source: Path) -> None:
    """Writes into a pipe, at first much, then without an end, until nobody reads any more."""
    with suppress(BrokenPipeError), source.open("wb", buffering=0) as pipe:
        for _ in range(17):
            pipe.write(b"x" * (1 << 20))
        deadline = time.monotonic() + BOUND_SECONDS
        while time.monotonic() < deadline:
            pipe.write(b"x" * (1 << 16))
            time.sleep(0.01)


async def started(tasks: anyio.abc.TaskGroup, blobs: Blobs, source: Path) -> "asyncio.Task[object]":
    async def put(*, task_status: anyio.abc.TaskStatus["asyncio.Task[object]"]) -> None:
        current = asyncio.current_task()
        assert current is not None
        task_status.started(current)
        await blobs.put("kept", source)

    task: asyncio.Task[object] = await tasks.start(put)
    return task


async def test_a_source_that_breaks_sends_nothing(s3_bucket: Bucket, blobs: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1_000_000
        raise OSError(5, "the client went away")

    with pytest.raises(OSError, match="the client went away"):
        await blobs.put("a", broken())
    assert s3_bucket.objects() == []
    assert s3_bucket.uploads() == []


async def test_a_missing_source_is_not_a_missing_blob(tmp_path: Path, blobs: Blobs) -> None:
    with pytest.raises(FileNotFoundError):
        await blobs.put("a", tmp_path / "missing")


async def test_a_spool_leaves_nothing_and_says_when_it_cannot_be(tmp_path: Path, s3_bucket: Bucket) -> None:
    async def large() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1_000_000

    blobs = blobs_of(tmp_path, dict(s3_bucket.settings))
    assert await blobs.put("a", large()) == 3_000_000
    assert list((tmp_path / "data").iterdir()) == []
    (tmp_path / "data").rmdir()
    (tmp_path / "data").write_bytes(b"in the way")
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        await blobs.put("b", large())


#: Reads and writes 200 MB by every way there is, in a process of its own, and prints by how much it grew, in MB.
LARGE = """
import asyncio, json, sys
from pathlib import Path
from treadle.blobs.places import open_blobs
from treadle.settings import Settings

settings = Settings.load(json.loads(sys.argv[1]), data_dir=sys.argv[2])
source = Path(sys.argv[3])

def grown(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024

async def pieces():
    with source.open("rb") as file:
        while piece := file.read(65536):
            yield piece

async def main():
    blobs = open_blobs(settings.blob_url, settings)
    await blobs.put("warm", b"x" * 6_000_000)
    before = grown("VmRSS")
    assert await blobs.put("path", source) == 200_000_000
    assert await blobs.put("pieces", pieces()) == 200_000_000
    assert sum([len(chunk) async for chunk in blobs.stream("path")]) == 200_000_000
    assert {entry.key: entry.size async for entry in blobs.entries()} == {
        "warm": 6_000_000, "path": 200_000_000, "pieces": 200_000_000}
    print(grown("VmHWM") - before)

asyncio.run(main())
"""


def test_a_large_file_takes_little_memory(tmp_path: Path, s3_bucket: Bucket) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(200_000_000)
    given = {f"TREADLE_{name}": value for name, value in s3_bucket.settings.items()}
    done = subprocess.run(
        [sys.executable, "-c", LARGE, json.dumps(given), str(tmp_path / "data"), str(source)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64


async def test_waiting_uploads_hold_up_nobody_else(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the process's other work in threads, and not the reading of blobs."""
    monkeypatch.setattr(s3, "SILENCE_SECONDS", 60)
    monkeypatch.setattr(s3, "MAX_RETRIES", 0)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        stuck = blobs_of(tmp_path, elsewhere(silent.getsockname()[1]))
        done: list[int] = []

        async def put(number: int) -> None:
            with pytest.raises(Unavailable):
                await stuck.put(f"a/{number}", b"x")
            done.append(number)

        await blobs.put("a", b"x")
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(put, number)
            await anyio.lowlevel.checkpoint()  # now they all wait
            for _ in range(100):
                assert await to_thread.run_sync(lambda: 7) == 7
            assert await blobs.get("a") == b"x"
            assert len(done) < 50
            silent.close()  # they fail
            tasks.cancel_scope.cancel()


# ---- services of the tests' own


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def elsewhere(port: int) -> dict[str, str]:
    return {
        "BLOB_URL": "s3://bucket/prefix",
        "S3_ENDPOINT": f"http://127.0.0.1:{port}",
        "S3_ACCESS_KEY_ID": KEY,
        "S3_SECRET_ACCESS_KEY": SECRET,
    }


def certificate(folder: Path) -> Path:
    """For 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    clear = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(clear + made.public_bytes(Encoding.PEM))
    return path


@contextmanager
def answering(status: bytes, body: bytes, *, tls: Path | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """A service with one answer to everything: its port, and the heads of the requests so far."""
    requests: list[bytes] = []
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)

    class Handler(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            if context is not None:
                self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def handle(self) -> None:
            head = b""
            while (line := self.rfile.readline()) not in {b"\r\n", b""}:
                head += line
            requests.append(head)
            length = next(
                (int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length")), 0
            )
            self.rfile.read(length)
            self.wfile.write(
                b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)
            )

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that does not trust us breaks off; nobody has to read that."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1], requests
        finally:
            server.shutdown()
            thread.join()
