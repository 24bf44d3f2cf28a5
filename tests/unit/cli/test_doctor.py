"""What `treadle doctor` finds in real servers, and that it leaves nothing there and shows no password."""

import asyncio
import http.server
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Self

import aio_pika
import psycopg
import pytest
from tests.support.ports import ReservedPort
from tests.support.postgres import PostgresServer
from tests.support.rabbit import RabbitServer
from tests.support.s3 import Bucket
from tests.support.stores import open_world
from tests.support.tcp_proxy import TcpProxy

from treadle.cli import machine, reach
from treadle.cli.file_use import network_file_system, users_of
from treadle.cli.findings import Check, Level
from treadle.queues.rabbitmq.intake import DEAD_QUEUE, QUEUE, declare
from treadle.settings import Settings
from treadle.store import schema
from treadle.store.address import sqlite_url

pytestmark = pytest.mark.anyio


def settings(folder: Path, **given: str) -> Settings:
    return Settings.load({"TREADLE_DATA_DIR": str(folder / "data"), **{f"TREADLE_{k}": v for k, v in given.items()}})


# ---- the database


@pytest.mark.postgres
async def test_postgresql_is_asked_for_version_schema_connections_and_time(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    url = postgres_server.upgraded()
    found = await reach.database(settings(tmp_path, DATABASE_URL=url, DATABASE_CONNECTIONS="148"))
    assert found.level is Level.OK, found
    assert f", schema {schema.head()}; PostgreSQL 1" in found.found
    assert "its clock agrees" in found.found
    # Of 200, less the server's own, and less those that the tests before have yet to let go.
    assert "enough for 1 processes with 150 each" in found.found


@pytest.mark.postgres
async def test_a_machine_that_stands_still_for_a_moment_has_no_other_time(
    tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Halting(datetime):
        """Whoever asks it for the time goes on late."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            found = super().now(tz)
            time.sleep(1.5)
            return found

    monkeypatch.setattr(reach, "datetime", Halting)
    found = await reach.database(settings(tmp_path, DATABASE_URL=postgres_server.upgraded()))
    assert "its clock agrees" in found.found


@pytest.mark.postgres
async def test_too_few_connections_are_a_warning(tmp_path: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.upgraded()
    found = await reach.database(settings(tmp_path, DATABASE_URL=url, DATABASE_CONNECTIONS="300"))
    assert found.level is Level.WARNING
    assert "enough for 0 processes" in found.found
    assert "TREADLE_DATABASE_CONNECTIONS" in str(found.hint)


@pytest.mark.postgres
async def test_a_role_may_have_fewer_connections_than_the_server(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    url = postgres_server.upgraded()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE narrow LOGIN PASSWORD 'word' CONNECTION LIMIT 5")
        try:
            admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO narrow")
            narrow = url.replace("postgres@", "narrow:s3cret-word@")
            found = await reach.database(settings(tmp_path, DATABASE_URL=narrow))
        finally:
            admin.execute("DROP OWNED BY narrow")
            admin.execute("DROP ROLE narrow")
    assert found.level is Level.WARNING
    assert "5 of 5 connections free" in found.found
    assert "s3cret-word" not in found.found


@pytest.mark.parametrize(
    ("ahead", "level"), [(0.4, Level.OK), (5, Level.WARNING), (-5, Level.WARNING), (11, Level.PROBLEM)]
)
def test_clocks_that_differ_cost_runs(ahead: float, level: Level) -> None:
    found = reach._clocks(reach._Server("17.0", 1, 100, ahead, 0.01), 30)
    assert found.level is level
    assert found.found == "its clock agrees" or ("ahead" if ahead > 0 else "behind") in found.found


@pytest.mark.postgres
async def test_a_database_that_is_away_is_a_problem(tmp_path: Path, postgres_server: PostgresServer) -> None:
    with TcpProxy(postgres_server.directory / ".s.PGSQL.5432") as link:
        link.cut()
        url = f"postgresql://treadle:s3cret-word@127.0.0.1:{link.port}/treadle"
        found = await reach.database(settings(tmp_path, DATABASE_URL=url))
    assert found.level is Level.PROBLEM
    assert "s3cret-word" not in str(found)


async def test_an_older_schema_is_a_warning(tmp_path: Path, sqlite_template: Path) -> None:
    here = settings(tmp_path)
    here.data_dir.mkdir()
    file = here.data_dir / "treadle.db"
    shutil.copyfile(sqlite_template, file)
    assert (await reach.database(here)).level is Level.OK
    change(file, "UPDATE alembic_version SET version_num = '0001'")
    found = await reach.database(here)
    assert (found.level, str(found.hint)[:20]) == (Level.WARNING, "`treadle db upgrade`")
    change(file, "UPDATE alembic_version SET version_num = '9999'")
    assert (await reach.database(here)).level is Level.OK, "a newer one that is made for this version, too"
    change(file, "UPDATE schema_compatibility SET oldest = '9999'")
    assert (await reach.database(here)).level is Level.PROBLEM


def change(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


async def test_sqlite_of_several_processes_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = settings(tmp_path)
    here.data_dir.mkdir()
    async with open_world(sqlite_url(here.data_dir / "treadle.db")):
        assert (await reach.database(here)).level is Level.OK
        monkeypatch.setattr(reach, "users_of", lambda path: [11, 12] if path.name == "treadle.db" else [])
        found = await reach.database(here)
    assert (found.level, found.hint) == (Level.WARNING, reach._SQLITE_HINT)
    assert "open in 2 processes" in found.found


async def test_sqlite_on_a_network_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = settings(tmp_path)
    monkeypatch.setattr(reach, "network_file_system", lambda _path: "nfs4")
    found = await reach.database(here)
    assert found.level is Level.PROBLEM
    assert "(nfs4), where SQLite loses data" in found.found


def test_who_has_a_file_open_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert users_of(file) == []
    with file.open() as held, subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[held.fileno()]) as other:
        assert users_of(file) == [other.pid]


def test_a_networks_file_systems_are_known(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    shared = tmp_path / "a b"
    (shared / "local").mkdir(parents=True)
    escaped = str(shared).replace(" ", "\\040")
    mounts.write_text(
        "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        f"23 22 0:50 / {escaped} rw shared:2 - nfs4 server:/export rw\n"
        f"24 23 8:2 / {escaped}/local rw - xfs /dev/sdb1 rw\n"
    )
    assert network_file_system(tmp_path, mounts) is None
    assert network_file_system(shared / "not" / "there", mounts) == "nfs4"
    assert network_file_system(shared / "local" / "file", mounts) is None
    assert network_file_system(tmp_path, tmp_path / "none") is None


# ---- the broker


async def test_without_a_broker_it_says_who_wakes_workers(tmp_path: Path) -> None:
    assert (await reach.broker(settings(tmp_path))).found == "none: the process itself wakes workers"
    url = "postgresql://treadle@db.example/treadle"
    assert (await reach.broker(settings(tmp_path, DATABASE_URL=url))).found == "none: PostgreSQL wakes workers"


@pytest.mark.rabbitmq
async def test_the_broker_is_asked_and_left_as_it_was(
    tmp_path: Path, rabbit_server: RabbitServer, rabbit_url: str
) -> None:
    here = settings(tmp_path, BROKER_URL=rabbit_url)
    found = await reach.broker(here)
    assert found.level is Level.OK, found
    assert "its queue is made at the first start" in found.found
    await until_no_queue(rabbit_server, rabbit_url)
    async with await aio_pika.connect(rabbit_url) as connection, connection.channel() as channel:
        await declare(channel)
        await channel.default_exchange.publish(aio_pika.Message(b"1"), QUEUE)
    found = await reach.broker(here)
    assert found.level is Level.OK, found
    assert f"messages in {QUEUE}" in found.found
    assert sorted(name for name in (QUEUE, DEAD_QUEUE) if f'"{name}"' in queues(rabbit_server, rabbit_url)) == sorted(
        (QUEUE, DEAD_QUEUE)
    )


def queues(server: RabbitServer, url: str) -> str:
    """The names of the queues of the URL's virtual host."""
    vhost = url.rpartition("/")[2]
    names = server.evaluate(f'[element(4, amqqueue:get_name(Q)) || Q <- rabbit_amqqueue:list(<<"{vhost}">>)].')
    return names.replace("<<", "").replace(">>", "")


async def until_no_queue(server: RabbitServer, url: str) -> None:
    """The broker removes what a connection alone had once it has seen its end."""
    async with asyncio.timeout(120):
        while queues(server, url) != "[]":  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


@pytest.mark.rabbitmq
async def test_a_queue_of_other_properties_is_a_problem(tmp_path: Path, rabbit_url: str) -> None:
    async with await aio_pika.connect(rabbit_url) as connection, connection.channel() as channel:
        await channel.declare_queue(QUEUE, durable=True)
    found = await reach.broker(settings(tmp_path, BROKER_URL=rabbit_url))
    assert found.level is Level.PROBLEM
    assert "other properties" in found.found


@pytest.mark.rabbitmq
async def test_a_refusal_is_a_problem_without_the_password(tmp_path: Path, rabbit_server: RabbitServer) -> None:
    wrong = rabbit_server.url(password="s3cret-word")
    found = await reach.broker(settings(tmp_path, BROKER_URL=wrong))
    assert found.level is Level.PROBLEM
    assert "does not let" in found.found
    assert "s3cret-word" not in str(found)


async def test_a_broker_that_is_away_is_a_problem(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"amqp://treadle:s3cret-word@127.0.0.1:{probe.getsockname()[1]}/treadle"
        found = await reach.broker(settings(tmp_path, BROKER_URL=url))
    assert found.level is Level.PROBLEM
    assert "s3cret-word" not in str(found)


# ---- the files


@pytest.mark.s3
async def test_a_bucket_is_written_read_and_deleted(tmp_path: Path, s3_bucket: Bucket) -> None:
    given = dict(s3_bucket.settings)
    found = await reach.blobs(settings(tmp_path, **given))
    assert found.level is Level.OK, found
    assert "written, read and deleted" in found.found
    assert s3_bucket.objects() == []
    found = await reach.blobs(settings(tmp_path, **{**given, "S3_SECRET_ACCESS_KEY": "s3cret-word"}))
    assert found.level is Level.PROBLEM
    assert "s3cret-word" not in str(found)


# ---- all of it


@pytest.mark.parametrize(
    ("given", "level", "said"),
    [
        ({}, Level.OK, "one machine"),
        ({"BROKER_URL": "amqp://host/"}, Level.WARNING, "SQLite is for this machine alone, broker for many"),
        ({"BLOB_URL": "s3://bucket"}, Level.WARNING, "SQLite is for this machine alone, S3 for many"),
        ({"DATABASE_URL": "postgresql://host/x"}, Level.WARNING, "sealing key"),
        ({"DATABASE_URL": "postgresql://host/x", "SECRET_KEY": "x"}, Level.WARNING, "files are on this machine"),
        (
            {"DATABASE_URL": "postgresql://host/x", "SECRET_KEY": "x", "BLOB_URL": "s3://bucket"},
            Level.OK,
            "any number of machines",
        ),
        ({"DATABASE_URL": "mysql://host/x"}, Level.OK, "not looked at"),
    ],
)
async def test_parts_that_do_not_go_together_are_named(
    tmp_path: Path, given: dict[str, str], level: Level, said: str
) -> None:
    found = await reach.sharing(settings(tmp_path, **given))
    assert found.level is level
    assert said in found.found


# ---- this machine


async def test_less_space_than_a_worker_wants_is_a_problem(tmp_path: Path) -> None:
    found = await machine.data_dir(settings(tmp_path, MIN_FREE_BYTES="1000T"))
    assert found.level is Level.PROBLEM
    assert "less than TREADLE_MIN_FREE_BYTES (1000.0 TiB): no run is taken" in found.found


async def test_memory_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    found = await machine.memory(tmp_path)
    assert found.level is Level.WARNING
    assert "kept on the disk" in found.found


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """Something on a port that answers every GET with that."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


async def test_ports_are_free_or_a_treadles(tmp_path: Path) -> None:
    assert (await machine.port("operations", "127.0.0.1", None)).found == "none"
    with answering(b'{"status":"ok"}') as taken:
        for host in ("127.0.0.1", "0.0.0.0"):
            found = await machine.port("operations", host, taken)
            assert found == Check("operations", Level.OK, f"{host}:{taken}, where a Treadle answers")
    with ReservedPort() as free:
        assert (await machine.port("operations", "127.0.0.1", free.number)).found.endswith("is free")
    with answering(b"hello") as taken:
        found = await machine.port("operations", "127.0.0.1", taken)
        assert found.level is Level.PROBLEM
        assert "Address already in use" in found.found
