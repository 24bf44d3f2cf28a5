"""A client of several API processes, of which some are away: it goes to the next door, and asks again."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import httpx2

from tests.support.service import PATIENCE_SECONDS, Json

PROCESSES = "/code-generation/processes"
TERMINAL = frozenset({"Success", "Failed", "Killed"})

#: What a client asks again after: the service, or its database, is away for a moment.
_PASSING = frozenset({502, 503, 504})
_PAUSE_SECONDS = 0.1
_EVENTS_A_PAGE = 1000


class Doors:
    """`urls` gives the API processes; `key` is the caller's; `said` what they have logged, for a failure's report.
    Every method may be called from several threads."""

    def __init__(self, urls: Callable[[], Sequence[str]], key: str, *, said: Callable[[], str] = str) -> None:
        self._urls = urls
        self.key = key
        self._said = said
        self._turn = itertools.count()
        self._http = httpx2.Client(timeout=20)
        self._ending = threading.Event()

    def give_up(self) -> None:
        """Whoever waits for an answer fails now."""
        self._ending.set()

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        through: str | None = None,
        key: str | None = None,
        seconds: float = PATIENCE_SECONDS,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        """What the first door answers that can, or the one `through`; only repeat what may be repeated."""
        said: object = None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._ending.is_set():
            urls = [through] if through is not None else self._urls()
            url = urls[next(self._turn) % len(urls)]
            try:
                answer = self._http.request(
                    method, url + path, headers={"X-Api-Key": key or self.key, **(headers or {})}, **options
                )
            except httpx2.TransportError as error:
                said = repr(error)
            else:
                if answer.status_code not in _PASSING:
                    return answer
                said = answer.text
            self._ending.wait(_PAUSE_SECONDS)
        raise AssertionError(f"no API process answered {method} {path} in {seconds} s: {said}\n{self._said()}")

    def start(
        self, *, through: str | None = None, key: str | None = None, seconds: float = PATIENCE_SECONDS, **fields: Any
    ) -> str:
        """POST a process, field names as in JSON; its id. Asked as often as it takes, it is made once."""
        once = {"Idempotency-Key": str(uuid4())}
        answer = self.request("POST", PROCESSES, through=through, key=key, seconds=seconds, headers=once, json=fields)
        assert answer.status_code == httpx2.codes.OK, answer.text
        return str(answer.json()["id"])

    def get(self, process_id: str, **where: Any) -> Json:
        answer = self.request("GET", f"{PROCESSES}/by-id/{process_id}", **where)
        assert answer.status_code == httpx2.codes.OK, answer.text
        found: Json = answer.json()
        return found

    def kill(self, process_id: str, **where: Any) -> None:
        answer = self.request("PUT", f"{PROCESSES}/by-id/{process_id}/kill", **where)
        assert answer.status_code == httpx2.codes.NO_CONTENT, answer.text

    def events(self, process_id: str, after: int = 0, **where: Any) -> list[Json]:
        """Every event so far; those numbered above `after`."""
        found: list[Json] = []
        while True:
            path = f"{PROCESSES}/by-id/{process_id}/events?after={after}&limit={_EVENTS_A_PAGE}"
            answer = self.request("GET", path, headers={"Accept": "application/json"}, **where)
            assert answer.status_code == httpx2.codes.OK, answer.text
            page: list[Json] = answer.json()
            found += page
            if len(page) < _EVENTS_A_PAGE:
                return found
            after = page[-1]["number"]

    def follow(self, process_id: str, *, seconds: float = PATIENCE_SECONDS) -> Iterator[Json]:
        """Events as they happen, to the last."""
        after, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            for event in self.events(process_id, after):
                after = event["number"]
                yield event
                if event["type"] == "run.finished":
                    return
            time.sleep(0.05)
        raise AssertionError(f"the run did not end in {seconds} s: {self.get(process_id)}")

    def wait(self, process_id: str, status: str | None = None, seconds: float = PATIENCE_SECONDS) -> Json:
        """The process once it has ended; fails unless it ended as `status`, when that is given."""
        for _ in self.follow(process_id, seconds=seconds):
            pass
        process = self.get(process_id)
        assert process["status"] in TERMINAL, process
        if status is not None:
            assert process["status"] == status, (process["failureDetails"], process["steps"])
        return process

    def wait_for(self, process_id: str, wanted: Callable[[Json], bool], seconds: float = PATIENCE_SECONDS) -> Json:
        """The first event that `wanted` accepts."""
        for event in self.follow(process_id, seconds=seconds):
            if wanted(event):
                return event
        raise AssertionError(f"the run ended without that event: {self.get(process_id)}")
