"""Webhooks to test with, and somebody who is told: up, down, slow or out of temper as a test says."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from tests.support.ports import ReservedPort
from tests.support.stores import NOW, World
from treadle.domain.identity import Principal
from treadle.domain.messages import Filter, Webhook, WebhookKind
from treadle.ports.webhooks import NewWebhook

#: How long a test waits for messages that should take seconds at most.
PATIENCE_SECONDS = 120.0


async def a_webhook(
    world: World, wanted: Filter | None = None, *, principal: Principal | None = None, most: int = 100
) -> Webhook:
    """An organization's, with sealed texts that open nowhere."""
    owner = principal or world.principal
    new = NewWebhook(
        uuid4(),
        owner.organization_id,
        owner.user_id,
        "everything",
        WebhookKind.WEBHOOK,
        "https://hooks.example.com/…",
        wanted or Filter(),
        "v1:00000000:target",
        "v1:00000000:secret",
    )
    return await world.store.add_webhook(new, NOW, most=most)


@dataclass(frozen=True, slots=True)
class Told:
    """A request."""

    headers: dict[str, str]
    body: bytes
    path: str = "/"

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def well(_: Told) -> int:
    return 200


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@dataclass
class Receiver:
    """On a port of its own that stays the same while it is down. `answer` gives the status, and may take its time;
    `accepted` are the requests that it gave a 2xx, in the order in which it had answered them."""

    answer: Callable[[Told], int] = well
    headers: dict[str, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    accepted: list[Told] = field(default_factory=list)
    _port: ReservedPort = field(default_factory=ReservedPort)
    _server: ThreadingHTTPServer | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self._port.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()
        self._port.close()

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def up(self) -> None:
        here = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                told = Told({name.lower(): value for name, value in self.headers.items()}, body, self.path)
                here._note(here.told, told)
                status = here.answer(told)
                # Before the answer is out: whoever gets it may look here at once.
                if 200 <= status < 300:
                    here._note(here.accepted, told)
                try:
                    self.send_response(status)
                    for name, value in here.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    return

            def log_message(self, *_: object) -> None:
                return

        self._server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def wait(self, is_enough: Callable[["Receiver"], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Until it is."""
        with self._changed:
            assert self._changed.wait_for(lambda: is_enough(self), seconds), (
                f"told {[each.json['type'] for each in self.told]}, "
                f"accepted {[each.json['type'] for each in self.accepted]}"
            )

    def of_run(self, run_id: int) -> list[Told]:
        """What it accepted of a run."""
        return [each for each in self.accepted if each.json["data"].get("run", {}).get("id") == run_id]

    def _note(self, where: list[Told], told: Told) -> None:
        with self._changed:
            where.append(told)
            self._changed.notify_all()
