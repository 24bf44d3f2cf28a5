"""A Git server on a bad day: now and then a push fails, before the server took it or after."""

import random
import threading
from collections import Counter

from tests.support.git_faults import Fault, Kind
from tests.support.git_server import GitServer

#: How likely each of a push's two requests meets a fault. A push is tried again a few times, so that few runs, if any,
#: hit a row of failures long enough to fail.
PUSH_FAULTS = {Kind.RECEIVE_REFS: 0.05, Kind.RECEIVE: 0.18}

_BEFORE = "a push fails before the server took it"
_AFTER = "a push fails after the server took it"
_SLOWLY = "a push takes a second longer"

#: By request: what happens to it, each as likely as the other.
_FAULTS = {
    Kind.RECEIVE_REFS: [
        (_BEFORE, Fault(Kind.RECEIVE_REFS, 0, status=503)),
        (_BEFORE, Fault(Kind.RECEIVE_REFS, 0, is_dropped=True)),
    ],
    Kind.RECEIVE: [
        (_BEFORE, Fault(Kind.RECEIVE, 0, status=503)),
        (_BEFORE, Fault(Kind.RECEIVE, 0, is_dropped=True)),
        (_AFTER, Fault(Kind.RECEIVE, 0, is_dropped_after=True)),
        (_AFTER, Fault(Kind.RECEIVE, 0, is_dropped_after=True)),
        (_AFTER, Fault(Kind.RECEIVE, 0, is_dropped_after=True)),
        (_SLOWLY, Fault(Kind.RECEIVE, 0, delay=1.0)),
    ],
}


class FlakyGitServer(GitServer):
    """As GitServer, but for `is_flaky`. It writes into `counts` how often it did what."""

    def __init__(self, seed: int, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts
        self.is_flaky = False
        self._random = random.Random(seed)
        self._random_lock = threading.Lock()

    def take_fault(self, kind: Kind) -> Fault | None:
        asked = super().take_fault(kind)
        if asked is not None or not self.is_flaky or kind not in PUSH_FAULTS:
            return asked
        with self._random_lock:
            if self._random.random() >= PUSH_FAULTS[kind]:
                return None
            name, fault = self._random.choice(_FAULTS[kind])
            self.counts[name] += 1
        return fault
