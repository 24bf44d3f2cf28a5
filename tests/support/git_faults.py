"""Faults that a test asks of a server: for the next requests of a kind, once or a number of times."""

import threading
from dataclasses import dataclass, field
from enum import Enum

#: How long a test may wait for something the server should see.
PATIENCE_SECONDS = 120.0


class Kind(Enum):
    """What a request is for."""

    UPLOAD_REFS = "info/refs?service=git-upload-pack"
    UPLOAD = "git-upload-pack"
    RECEIVE_REFS = "info/refs?service=git-receive-pack"
    RECEIVE = "git-receive-pack"
    OTHER = "other"


@dataclass
class Hold:
    """Requests that wait at a gate: `reached` is set by the first, `release()` lets all pass."""

    reached: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Block until a request stands at the gate.

        Raises:
            TimeoutError: none came.
        """
        if not self.reached.wait(seconds):
            raise TimeoutError(f"no request reached the gate in {seconds} s")

    def release(self) -> None:
        self._released.set()


@dataclass
class Fault:
    """What to do with the next `times` requests of a kind."""

    kind: Kind
    times: int
    status: int | None = None
    is_dropped: bool = False
    is_dropped_after: bool = False
    delay: float = 0.0
    hold: Hold | None = None
    holds_after: bool = False


class Faults:
    """What the next requests will meet; may be changed while the server runs."""

    def __init__(self) -> None:
        self._fault_lock = threading.Lock()
        self._faults: list[Fault] = []
        self.stopping = threading.Event()

    def answer(self, kind: Kind, status: int, *, times: int = 1) -> None:
        """Answer the next requests of a kind with a status instead of passing them on."""
        self._add(Fault(kind, times, status=status))

    def drop(self, kind: Kind, *, times: int = 1, after: bool = False) -> None:
        """Close the connection of the next requests of a kind before the answer is whole.

        Args:
            after: let git do its work first, so that a push is taken but never acknowledged.
        """
        self._add(Fault(kind, times, is_dropped=not after, is_dropped_after=after))

    def delay(self, kind: Kind, seconds: float, *, times: int = 1) -> None:
        self._add(Fault(kind, times, delay=seconds))

    def hold(self, kind: Kind, *, times: int = 1, after: bool = False) -> Hold:
        """Stop the next requests of a kind until released, before git sees them or, `after`, before the answer."""
        hold = Hold()
        self._add(Fault(kind, times, hold=hold, holds_after=after))
        return hold

    def _add(self, fault: Fault) -> None:
        with self._fault_lock:
            self._faults.append(fault)

    def take_fault(self, kind: Kind) -> Fault | None:
        with self._fault_lock:
            for fault in self._faults:
                if fault.kind is kind and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def wait_at(self, hold: Hold) -> None:
        hold.reached.set()
        while not (hold._released.wait(0.05) or self.stopping.is_set()):
            pass
