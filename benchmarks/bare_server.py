"""The floor of the API benchmark: bare Starlette, sqlite3 in a thread, group commit. Nothing of Treadle in it.

Run as `python -m benchmarks.bare_server DATABASE PORT`.
"""

import asyncio
import json
import sqlite3
import sys
import threading
import uuid
from collections.abc import Sequence
from queue import SimpleQueue

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, uuid TEXT UNIQUE, body TEXT, status TEXT);
CREATE TABLE IF NOT EXISTS steps (run INTEGER, position INTEGER, text TEXT, PRIMARY KEY (run, position));
CREATE TABLE IF NOT EXISTS events (run INTEGER, number INTEGER, type TEXT, PRIMARY KEY (run, number));
"""

Write = tuple[str, Sequence[str], str, "asyncio.Future[None]"]


class Database:
    def __init__(self, path: str) -> None:
        self._path = path
        self._writes: SimpleQueue[Write] = SimpleQueue()
        self._reader = self._connect()
        self._loop = asyncio.get_running_loop()
        self._reads: SimpleQueue[tuple[str, asyncio.Future[tuple[str, list[str]]]]] = SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()
        threading.Thread(target=self._read, daemon=True).start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
            connection.execute("PRAGMA " + pragma)
        connection.executescript(_SCHEMA)
        return connection

    def _write(self) -> None:
        connection = self._connect()
        while True:
            batch = [self._writes.get()]
            while not self._writes.empty():
                batch.append(self._writes.get())
            connection.execute("BEGIN IMMEDIATE")
            for uuid_, steps, body, _ in batch:
                row = connection.execute(
                    "INSERT INTO runs (uuid, body, status) VALUES (?, ?, 'New')", (uuid_, body)
                ).lastrowid
                connection.executemany(
                    "INSERT INTO steps (run, position, text) VALUES (?, ?, ?)",
                    [(row, at, text) for at, text in enumerate(steps, 1)],
                )
                connection.execute("INSERT INTO events VALUES (?, 1, 'run.created')", (row,))
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_resolve, batch)

    async def insert(self, uuid_: str, steps: Sequence[str], body: str) -> None:
        done = self._loop.create_future()
        self._writes.put((uuid_, steps, body, done))
        await done

    async def select(self, uuid_: str) -> tuple[str, list[str]]:
        found: asyncio.Future[tuple[str, list[str]]] = self._loop.create_future()
        self._reads.put((uuid_, found))
        return await found

    def _read(self) -> None:
        """What waits together is read together: else each read waits for the interpreter's lock by itself."""
        while True:
            batch = [self._reads.get()]
            while not self._reads.empty():
                batch.append(self._reads.get())
            answers = [(found, self._select(uuid_)) for uuid_, found in batch]
            self._loop.call_soon_threadsafe(_answer, answers)

    def _select(self, uuid_: str) -> tuple[str, list[str]]:
        row, body = self._reader.execute("SELECT id, body FROM runs WHERE uuid = ?", (uuid_,)).fetchone()
        steps = self._reader.execute("SELECT text FROM steps WHERE run = ? ORDER BY position", (row,)).fetchall()
        return str(body), [str(text) for (text,) in steps]


def _resolve(batch: list[Write]) -> None:
    for *_, done in batch:
        done.set_result(None)


def _answer(answers: list[tuple[asyncio.Future[tuple[str, list[str]]], tuple[str, list[str]]]]) -> None:
    for found, answer in answers:
        found.set_result(answer)


def build(path: str) -> Starlette:
    databases: list[Database] = []

    def database() -> Database:
        if not databases:
            databases.append(Database(path))
        return databases[0]

    async def post(request: Request) -> Response:
        body = json.loads(await request.body())
        for field in ("gitUrl", "branchSource", "branchWork"):
            if not isinstance(body.get(field), str) or len(body[field]) > 10_000:
                return Response(status_code=400)
        if not 1 <= len(body["steps"]) <= 20:
            return Response(status_code=400)
        uuid_ = str(uuid.uuid4())
        await database().insert(uuid_, [step["step"] for step in body["steps"]], json.dumps(body))
        return Response(json.dumps({"id": uuid_, **body}), media_type="application/json")

    async def get(request: Request) -> Response:
        body, steps = await database().select(request.path_params["id"])
        answer = {"id": request.path_params["id"], **json.loads(body), "texts": steps}
        return Response(json.dumps(answer), media_type="application/json")

    return Starlette(
        routes=[
            Route("/code-generation/processes", post, methods=["POST"]),
            Route("/code-generation/processes/by-id/{id}", get),
            Route("/healthz", lambda _request: Response("ok")),
        ]
    )


if __name__ == "__main__":
    uvicorn.run(build(sys.argv[1]), port=int(sys.argv[2]), log_config=None, access_log=False)
