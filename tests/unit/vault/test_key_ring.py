"""A process follows its keys: no restart when they change, and no harm from a source that fails for a while."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from treadle.domain.errors import ConfigurationError, SealKeyMissing
from treadle.vault import AesGcmVault, FileKeys, KeyFile, SealingKey, size_of
from treadle.vault.key_ring import LOOK_SECONDS, REREAD_SECONDS, SLOW_REREAD_SECONDS

FIRST, SECOND, THIRD = (SealingKey(bytes([number]) * 32) for number in (1, 2, 3))
PLACE = {"organization": UUID(int=1), "table": "t", "row": "r"}


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Source:
    """Counts how often it is asked."""

    keys: tuple[SealingKey, ...]
    is_fixed: bool = False
    is_slow: bool = False
    name: str = "somewhere"
    changed: bool = False
    loads: int = 0
    error: ConfigurationError | None = field(default=None)
    waits_for: Event | None = None

    def load(self) -> tuple[SealingKey, ...]:
        self.loads += 1
        if self.waits_for is not None:
            assert self.waits_for.wait(120)
        if self.error is not None:
            raise self.error
        return self.keys

    def may_differ(self) -> bool:
        changed, self.changed = self.changed, False
        return changed


def sealed_by(key: SealingKey) -> str:
    return AesGcmVault([key]).seal("secret", **PLACE)  # type: ignore[arg-type]  # one dictionary for three types


def opened(vault: AesGcmVault, sealed: str) -> str:
    return vault.open(sealed, **PLACE)  # type: ignore[arg-type]  # as above


def test_an_unknown_key_is_looked_for_before_it_is_missing() -> None:
    source = Source((FIRST,))
    vault = AesGcmVault.following(source, clock=Clock())
    source.keys = (SECOND, FIRST)
    assert opened(vault, sealed_by(SECOND)) == "secret"
    assert vault.key_id == SECOND.id
    assert source.loads == 2


@pytest.mark.parametrize(("is_slow", "seconds"), [(False, REREAD_SECONDS), (True, SLOW_REREAD_SECONDS)])
def test_a_key_that_is_nowhere_is_not_looked_for_all_the_time(is_slow: bool, seconds: float) -> None:
    source, clock = Source((FIRST,), is_slow=is_slow), Clock()
    vault = AesGcmVault.following(source, clock=clock)
    for _ in range(10):
        with pytest.raises(SealKeyMissing, match=SECOND.id):
            opened(vault, sealed_by(SECOND))
    assert source.loads == 2
    with pytest.raises(SealKeyMissing, match=THIRD.id):  # another one is another question
        vault.check(sealed_by(THIRD))
    assert source.loads == 3
    clock.now += seconds
    source.keys = (FIRST, SECOND)
    assert opened(vault, sealed_by(SECOND)) == "secret"


def test_a_change_is_seen_by_who_only_seals() -> None:
    source, clock = Source((FIRST,)), Clock()
    vault = AesGcmVault.following(source, clock=clock)
    source.keys, source.changed = (SECOND, FIRST), True
    assert vault.key_id == FIRST.id  # looked at a moment ago
    clock.now += LOOK_SECONDS
    assert opened(AesGcmVault([SECOND]), vault.seal("secret", **PLACE)) == "secret"  # type: ignore[arg-type]  # as above


def test_a_source_that_fails_leaves_the_keys_that_there_are() -> None:
    source, clock = Source((FIRST,)), Clock()
    vault = AesGcmVault.following(source, clock=clock)
    source.error, source.changed = ConfigurationError("It is away."), True
    clock.now += LOOK_SECONDS
    with capture_logs() as lines:
        assert vault.key_id == FIRST.id
    assert [(line["log_level"], line["reason"]) for line in lines] == [("warning", "It is away.")]
    assert opened(vault, sealed_by(FIRST)) == "secret"
    source.error, source.keys, source.changed = None, (SECOND, FIRST), True
    clock.now += LOOK_SECONDS
    assert vault.key_id == SECOND.id


def test_keys_of_the_environment_are_never_asked_for_again() -> None:
    source = Source((FIRST,), is_fixed=True, changed=True)
    vault = AesGcmVault.following(source, clock=Clock())
    with pytest.raises(SealKeyMissing):
        opened(vault, sealed_by(SECOND))
    assert source.loads == 1


def test_a_slow_source_keeps_no_sealer_waiting(until: Callable[[Callable[[], bool]], None]) -> None:
    source, clock = Source((FIRST,), is_slow=True), Clock()
    vault = AesGcmVault.following(source, clock=clock)
    source.keys, source.changed = (SECOND, FIRST), True
    clock.now += LOOK_SECONDS
    vault.key_id  # noqa: B018 - what asks for the keys
    until(lambda: vault.key_id == SECOND.id)


def test_a_slow_source_keeps_no_opener_waiting_for_long(until: Callable[[Callable[[], bool]], None]) -> None:
    """An event loop opens: a lease that is not renewed meanwhile would be lost."""
    source, answers = Source((FIRST,), is_slow=True), Event()
    vault = AesGcmVault.following(source, clock=Clock())
    source.keys, source.waits_for = (SECOND, FIRST), answers
    with pytest.raises(SealKeyMissing, match=SECOND.id):
        opened(vault, sealed_by(SECOND))
    answers.set()
    until(lambda: vault.key_id == SECOND.id)
    assert opened(vault, sealed_by(SECOND)) == "secret"
    assert source.loads == 2


def test_a_retired_key_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.write_text(f"{SECOND.text}\n{FIRST.text}\n")
    path.chmod(0o600)
    clock = Clock()
    vault = AesGcmVault.following(FileKeys(KeyFile(path)), clock=clock)
    assert opened(vault, sealed_by(FIRST)) == "secret"
    KeyFile(path).change(lambda keys: keys[:1])
    clock.now += LOOK_SECONDS
    assert vault.key_id == SECOND.id
    with pytest.raises(SealKeyMissing):
        opened(vault, sealed_by(FIRST))


@pytest.mark.parametrize("text", ["", "x", "ab", "abc", "☃" * 11])
def test_the_size_of_what_is_sealed_is_known(text: str) -> None:
    assert size_of(AesGcmVault([FIRST]).seal(text, **PLACE)) == len(text.encode())  # type: ignore[arg-type]  # as above
