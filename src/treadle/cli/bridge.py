"""From standard input and output to a service's /mcp: every message as it is, line by line. What a tool is, only the
service knows."""

import asyncio
import base64
import json
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final, TextIO

import httpx2

from treadle.cli.interrupts import Interrupts
from treadle.cli.options import service_key
from treadle.domain.errors import ConfigurationError, TreadleError, Unavailable
from treadle.sdk._connection import Connection

#: Bytes of one message that a client may send.
MAX_LINE_BYTES = 64 * 1024 * 1024

#: How long a connection may take to be made, in seconds; an answer may take as long as it does.
CONNECT_SECONDS = 30.0

#: Bytes of one message that the service may send.
MAX_EVENT_BYTES = 64 * 1024 * 1024

_ACCEPT: Final = "application/json, text/event-stream"
_STREAM: Final = "text/event-stream"
_PING: Final = {"jsonrpc": "2.0", "id": "treadle-mcp", "method": "ping"}
_VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_CANCELLED: Final = "notifications/cancelled"

#: Of which parameter a method's `Mcp-Name` is.
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

_PLAIN: Final = re.compile(r"(?!\s)[\x20-\x7E]*(?<!\s)")
_PARSE_ERROR: Final = -32700
_CONNECTION_CLOSED: Final = -32000

Object = Mapping[str, object]


class Bridge:
    """One client's conversation with one service."""

    def __init__(self, http: httpx2.AsyncClient, out: TextIO) -> None:
        self._http = http
        self._out = out
        self._version: str | None = None  # that a handshake agreed on
        self._going: dict[str, asyncio.Task[None]] = {}

    @classmethod
    async def run(cls, url: str, key: str | None) -> None:
        """Until standard input ends. Raises ConfigurationError for an address or a key that can never work, and
        Unavailable for a service that does not answer at the start."""
        try:
            connection = Connection.of(url, service_key(key), None, None, {})
        except ValueError as error:
            raise ConfigurationError(str(error), hint=_HINT) from None
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
        async with httpx2.AsyncClient(
            base_url=connection.base_url, headers=connection.headers, timeout=timeout
        ) as http:
            await _check(http)
            with Interrupts():
                await cls(http, sys.stdout).serve(await _standard_input())

    async def serve(self, lines: asyncio.StreamReader) -> None:
        """Answers in any order, each as soon as it is there."""
        try:
            while line := await _line(lines):
                if line.strip():
                    await self._take(line)
        finally:
            going = list(self._going.values())
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)

    async def _take(self, line: bytes) -> None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return self._fail(None, _PARSE_ERROR, "This is no JSON.")
        message: Object = found if isinstance(found, dict) else {}
        method, number = message.get("method"), message.get("id")
        if method == _CANCELLED:
            return self._cancel(message)
        if number is None or not isinstance(method, str):  # a notification, or an answer to what nobody asked
            return await self._tell(message, line)
        key = json.dumps(number)
        if (before := self._going.get(key)) is not None:
            before.cancel()
        task = asyncio.create_task(self._ask(message, line), name=f"mcp request {key}")
        self._going[key] = task
        task.add_done_callback(lambda done: self._going.pop(key) if self._going.get(key) is done else None)
        return None

    def _cancel(self, message: Object) -> None:
        """By ending the request, which is how a service that keeps nothing learns of it."""
        params = message.get("params")
        if isinstance(params, Mapping) and (task := self._going.get(json.dumps(params.get("requestId")))) is not None:
            task.cancel()

    async def _tell(self, message: Object, line: bytes) -> None:
        with suppress(httpx2.HTTPError):  # nobody waits for an answer
            await self._http.post("/mcp", content=line, headers=self._headers(message), timeout=CONNECT_SECONDS)

    async def _ask(self, message: Object, line: bytes) -> None:
        number = message.get("id")
        try:
            async with self._http.stream("POST", "/mcp", content=line, headers=self._headers(message)) as answer:
                if answer.headers.get("content-type", "").startswith(_STREAM):
                    is_answered = False
                    async for event in httpx2.EventSource(answer, max_event_size=MAX_EVENT_BYTES):
                        if event.data:
                            is_answered = self._pass_on(event.data, message) or is_answered
                    if not is_answered:
                        self._fail(number, _CONNECTION_CLOSED, "The service ended before it answered: call again.")
                    return None
                body = (await answer.aread()).decode(errors="replace")
        except (httpx2.HTTPError, httpx2.SSEError) as error:
            said = str(error) or type(error).__name__
            return self._fail(number, _CONNECTION_CLOSED, f"The service could not be reached: {said}. {_HINT}")
        if not self._pass_on(body, message):
            self._fail(number, _CONNECTION_CLOSED, _sentence(answer.status_code, body))
        return None

    def _headers(self, message: Object) -> Mapping[str, str]:
        """What HTTP wants to know of a message without reading it."""
        found = {"Content-Type": "application/json", "Accept": _ACCEPT}
        method, params = message.get("method"), message.get("params")
        params = params if isinstance(params, Mapping) else {}
        meta = params.get("_meta")
        version = meta.get(_VERSION_KEY) if isinstance(meta, Mapping) else None
        if isinstance(version, str) and isinstance(method, str):
            found |= {"MCP-Protocol-Version": version, "Mcp-Method": method}
            name = params.get(_NAMED.get(method, ""))
            if isinstance(name, str):
                found["Mcp-Name"] = _field(name)
        elif self._version is not None and method != "initialize":
            found["MCP-Protocol-Version"] = self._version
        return found

    def _pass_on(self, text: str, asked: Object) -> bool:
        """Writes a message; whether it was the answer. What is none is not written."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(found, dict) or found.get("jsonrpc") != "2.0":
            return False
        is_answer = "method" not in found
        if is_answer and "error" in found and found.get("id") is None:
            found["id"] = asked.get("id")
        result = found.get("result")
        if asked.get("method") == "initialize" and isinstance(result, dict):
            version = result.get("protocolVersion")
            self._version = version if isinstance(version, str) else None
        self._write(found)
        return is_answer

    def _fail(self, number: object, code: int, said: str) -> None:
        self._write({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": said}})

    def _write(self, message: Object) -> None:
        self._out.write(f"{json.dumps(message, separators=(',', ':'))}\n")
        self._out.flush()


_HINT: Final = "TREADLE_URL and TREADLE_API_KEY say where it is and who asks."


async def _check(http: httpx2.AsyncClient) -> None:
    """Whether there is a service that takes the key: to be said before a client waits for an answer."""
    try:
        answer = await http.post("/mcp", json=_PING, headers={"Accept": _ACCEPT}, timeout=CONNECT_SECONDS)
    except httpx2.InvalidURL as error:
        raise ConfigurationError(f"The address cannot be read: {error}.", hint=_HINT) from None
    except httpx2.HTTPError as error:
        said = str(error) or type(error).__name__
        raise Unavailable(f"{http.base_url} does not answer: {said}.", hint=_HINT) from None
    if answer.status_code != HTTPStatus.OK:
        failed = ConfigurationError if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else TreadleError
        raise failed(_sentence(answer.status_code, answer.text), hint=_HINT)


def _sentence(status: int, body: str) -> str:
    """What a problem says."""
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
        if isinstance(found, dict) and isinstance(detail := found.get("detail"), str):
            return detail
    return f"The service answered {status}, and not as one that speaks MCP."


def _field(name: str) -> str:
    """As a header's value."""
    if _PLAIN.fullmatch(name) and not name.startswith("=?base64?"):
        return name
    return f"=?base64?{base64.b64encode(name.encode(errors='replace')).decode()}?="


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _line(lines: asyncio.StreamReader) -> bytes:
    try:
        return await lines.readline()
    except ValueError:
        raise ConfigurationError(f"A message is larger than {MAX_LINE_BYTES:,} bytes.") from None
