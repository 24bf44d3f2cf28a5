"""The keys of a source as they are now, followed while the process runs: a key is replaced without a restart."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from treadle.domain.errors import ConfigurationError
from treadle.vault.keys import SealingKey
from treadle.vault.sources import KeySource

#: How often a process that seals looks whether its keys have changed.
LOOK_SECONDS = 1.0
#: How often the source is read anew for the same key that was not in it: a file, and what makes everybody wait.
REREAD_SECONDS = 5.0
SLOW_REREAD_SECONDS = 60.0
#: What asks for an unknown key waits no longer for a slow source: it may be an event loop. The keys still come.
UNKNOWN_KEY_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ring:
    """Ciphers by their keys' ids; `first` seals."""

    first: str
    ciphers: Mapping[str, AESGCM]

    @classmethod
    def of(cls, keys: Sequence[SealingKey]) -> "Ring":
        """Raises ConfigurationError."""
        if not keys:
            raise ConfigurationError("There is no key to seal secrets with.", hint="Set TREADLE_SECRET_KEY.")
        return cls(keys[0].id, {key.id: AESGCM(key.secret) for key in keys})


class KeyRing:
    """`source` None: the keys stay those. What cannot be read in passing leaves the keys as they are."""

    def __init__(
        self,
        keys: Sequence[SealingKey],
        source: KeySource | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ring = Ring.of(keys)
        self._source = source if source is not None and not source.is_fixed else None
        self._clock = clock
        self._looked = clock()
        self._missed: dict[str, float] = {}
        self._reading = threading.Lock()

    def to_seal(self) -> Ring:
        """What is sealed with now."""
        source = self._source
        if source is not None and self._clock() - self._looked >= LOOK_SECONDS:
            self._looked = self._clock()
            if source.may_differ():
                self._look(source, seconds=0)
        return self._ring

    def to_open(self, key_id: str) -> AESGCM | None:
        """A key that nobody here knows yet may be one that another process has begun to seal with. None while a slow
        source takes longer than `UNKNOWN_KEY_SECONDS`: what asks again later may find it."""
        cipher, source = self._ring.ciphers.get(key_id), self._source
        if cipher is None and source is not None and (source.may_differ() or self._is_due(key_id, source)):
            self._look(source, seconds=UNKNOWN_KEY_SECONDS)
            cipher = self._ring.ciphers.get(key_id)
        return cipher

    def _look(self, source: KeySource, *, seconds: float) -> None:
        """Reads a quick source, and waits that long for a slow one."""
        if not source.is_slow:
            self._read(source)
            return
        reading = threading.Thread(target=self._read, args=(source,), name="sealing keys", daemon=True)
        reading.start()
        reading.join(seconds)

    def _is_due(self, key_id: str, source: KeySource) -> bool:
        now, missed = self._clock(), self._missed.get(key_id)
        if missed is not None and now - missed < (SLOW_REREAD_SECONDS if source.is_slow else REREAD_SECONDS):
            return False
        self._missed[key_id] = now
        return True

    def _read(self, source: KeySource) -> None:
        with self._reading:
            try:
                ring = Ring.of(source.load())
            except ConfigurationError as error:
                log.warning("the sealing keys could not be read anew", reason=error.sentence())
                return
            if ring.ciphers.keys() != self._ring.ciphers.keys() or ring.first != self._ring.first:
                log.info("the sealing keys have changed", seals=ring.first, opens=sorted(ring.ciphers))
            self._ring = ring
