"""A scripted HTTP server without a network, for tests of the SDK, and one way to use both of its clients."""

import inspect
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import httpx2

from treadle.sdk import AsyncClient, Client

T = TypeVar("T")

PROCESS_ID = "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0001"
FILE_ID = "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0002"


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body in pieces; an exception among them breaks the connection there. `is_closed` once the client let go."""

    def __init__(self, *parts: bytes | str | Exception) -> None:
        self._parts = parts
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            yield part.encode() if isinstance(part, str) else part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


#: A response can be read once, so what several tests share is made anew for each.
Answer = httpx2.Response | Exception | Callable[[], httpx2.Response]


@dataclass
class ScriptedApi:
    """Answers requests in order, and keeps them. An exception is raised as the network would; the last answer is given
    again and again when `repeats_last`."""

    answers: list[Answer] = field(default_factory=list)
    repeats_last: bool = False
    requests: list[httpx2.Request] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)
    now: float = 0.0

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if not self.answers:
            raise AssertionError(f"Nobody scripted an answer to {request.method} {request.url}.")
        found = self.answers[0] if self.repeats_last and len(self.answers) == 1 else self.answers.pop(0)
        if callable(found):
            found = found()
        if isinstance(found, httpx2.RequestError):
            found.request = request
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def only(self) -> httpx2.Request:
        [request] = self.requests
        return request

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def sent_json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.only.content))

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def clock(self) -> float:
        return self.now


class AnyClient:
    """Either client, behind one face: `await sdk.result(sdk.client.processes.get(…))`."""

    def __init__(self, api: ScriptedApi, kind: str, **settings: Any) -> None:
        transport = httpx2.MockTransport(api.answer)
        given: dict[str, Any] = {
            "base_url": "http://treadle.test",
            "api_key": "key-1",
            "sleep": api.sleep if kind == "sync" else api.sleep_async,
            "random": lambda: 1.0,
            "clock": api.clock,
            **settings,
        }
        # The two have the same methods, awaited or not; `result` and `collect` even that out.
        self.client: Any = (Client if kind == "sync" else AsyncClient)(transport=transport, **given)

    async def result(self, value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value

    async def collect(self, values: Any) -> list[Any]:
        if isinstance(values, AsyncIterable):
            return [value async for value in values]
        return list(values)

    async def first(self, values: Any, count: int) -> list[Any]:
        """The first `count`, then leaves the rest."""
        found = []
        if isinstance(values, Iterable):
            for value in values:
                found.append(value)
                if len(found) == count:
                    break
            cast("Any", values).close()
        else:
            async for value in values:
                found.append(value)
                if len(found) == count:
                    break
            await values.aclose()
        return found

    async def close(self) -> None:
        closing: Awaitable[None] | None = self.client.close()
        if closing is not None:
            await closing


def process_json(status: object = "Running", **changes: Any) -> dict[str, Any]:
    """A process with one step, as the API answers it."""
    return {
        "id": PROCESS_ID,
        "tenantId": "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0010",
        "userCreatedById": "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0011",
        "dateCreated": "2026-01-02T03:04:05.678900Z",
        "dateUpdated": "2026-01-02T03:04:06Z",
        "dateStarted": "2026-01-02T03:04:06Z",
        "dateCompleted": None,
        "dateRunnerPing": "2026-01-02T03:04:06Z",
        "status": status,
        "failureDetails": None,
        "gitUrl": "https://git.test/o/r.git",
        "branchSource": "main",
        "branchWork": "work",
        "codeGuidelines": None,
        "fileIds": [FILE_ID],
        "generateDiffOnCompletion": True,
        "engine": "Claude",
        "diff": None,
        "steps": [
            {
                "id": "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0020",
                "step": "Do it",
                "isCommitableStep": True,
                "isStructuredOutput": True,
                "status": "Running",
                "phase": "Implementation",
                "output": "done",
                "structuredOutput": {
                    "output": "o",
                    "thinking": "t",
                    "wasSuccessful": True,
                    "didGenerateCode": True,
                    "isAdditionalWorkRequiredToContinue": False,
                },
                "failureDetails": None,
                "commitSha": "abc",
                "dateStarted": "2026-01-02T03:04:06Z",
                "dateCompleted": None,
                "usage": {"inputTokens": 1, "outputTokens": 2, "costUsd": 0.5, "durationMs": 30},
            }
        ],
        "usage": {"inputTokens": 1, "outputTokens": 2, "costUsd": 0.5, "durationMs": 30},
        **changes,
    }


def file_json() -> dict[str, Any]:
    return {
        "id": FILE_ID,
        "name": "spec.md",
        "contentType": "text/markdown",
        "size": 3,
        "sha256": "ab",
        "dateCreated": "2026-01-02T03:04:06Z",
    }


def event_json(number: int, type_: str = "engine.text", **data: Any) -> dict[str, Any]:
    return {
        "number": number,
        "type": type_,
        "date": "2026-01-02T03:04:06Z",
        "step": 1,
        "phase": "Analysis",
        "data": data,
    }


def event_frame(number: int, type_: str = "engine.text", **data: Any) -> str:
    return f"id: {number}\nevent: {type_}\ndata: {json.dumps(event_json(number, type_, **data))}\n\n"


def ok(value: object) -> httpx2.Response:
    return httpx2.Response(200, json=value)


def problem(status: int, *, headers: Mapping[str, str] | None = None, **body: Any) -> httpx2.Response:
    found = {"type": "about:blank", "title": "A title", "status": status, **body}
    return httpx2.Response(
        status, headers={"Content-Type": "application/problem+json", **(headers or {})}, content=json.dumps(found)
    )


def stream(*parts: bytes | str | Exception) -> httpx2.Response:
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Pieces(*parts))


def pauses(api: ScriptedApi) -> Sequence[float]:
    """The pauses so far, rounded."""
    return [round(seconds, 3) for seconds in api.sleeps]
