"""Another sealing key in the place of the one in use, without downtime."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from treadle.domain.errors import ConfigurationError, Conflict
from treadle.ports.trust import SealedStore
from treadle.services.sealing import SETTLE_SECONDS, Resealed, Sealing
from treadle.vault import AesGcmVault, FileKeys, KeySource, SealingKey
from treadle.vault.keys import KEY_BYTES


@dataclass(frozen=True, slots=True)
class Rotation:
    """`is_new`: the key was made now. `others`: the ids of those that are loaded and seal no more."""

    key_id: str
    is_new: bool
    others: tuple[str, ...]
    resealed: Resealed


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key and how many texts it has sealed. `is_loaded` False: these texts do not open here."""

    id: str
    seals: bool
    is_loaded: bool
    texts: int


class KeyRotation:
    """The keys of `source`, and what they have sealed. `random(n)` gives n unpredictable bytes."""

    def __init__(
        self,
        store: SealedStore,
        source: KeySource,
        *,
        random: Callable[[int], bytes] = os.urandom,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._source = source
        self._random = random
        self._sleep = sleep

    async def keys(self) -> Sequence[KeyUse]:
        """In their order, then those that have sealed texts and are not loaded. Raises ConfigurationError."""
        loaded = [key.id for key in await asyncio.to_thread(self._source.load)]
        texts = await self._store.sealing_keys()
        found = [KeyUse(each, each == loaded[0], is_loaded=True, texts=texts.get(each, 0)) for each in loaded]
        return found + [
            KeyUse(each, seals=False, is_loaded=False, texts=count)
            for each, count in sorted(texts.items())
            if each not in loaded
        ]

    async def rotate(self, *, makes_key: bool = True, tell: Callable[[str], Awaitable[None]] | None = None) -> Rotation:
        """Puts a new key before the others where they are in a file, and seals every text anew with the first. A key
        that is first already and has sealed nothing is taken: a rotation was broken off there. `tell` gets the id of a
        new key as soon as it is there. Raises ConfigurationError."""
        before = await asyncio.to_thread(self._source.load)
        if makes_key and isinstance(self._source, FileKeys):
            texts = await self._store.sealing_keys()
            kept, changed = await asyncio.to_thread(
                self._source.file.change, lambda keys: self._with_another(keys, texts)
            )
            if tell is not None and changed != kept:
                await tell(changed[0].id)
        vault = await asyncio.to_thread(AesGcmVault.following, self._source)
        resealed = await Sealing(self._store, vault, sleep=self._sleep).seal_anew()
        first, *others = (key.id for key in await asyncio.to_thread(self._source.load))
        return Rotation(first, first not in {key.id for key in before}, tuple(others), resealed)

    async def retire(self) -> Sequence[str]:
        """Takes the keys but the first out of the file, once nothing is sealed by them; their ids. Raises Conflict
        while something is, ConfigurationError for keys that are in no file."""
        if not isinstance(self._source, FileKeys):
            raise ConfigurationError(
                f"The sealing keys are in {self._source.name}, not in a file of this machine.",
                hint="Take the old ones out there; `treadle admin keys list` says what they have sealed.",
            )
        file = self._source.file
        old = [key.id for key in (await asyncio.to_thread(file.read))[1:]]
        _require_unused(old, await self._store.sealing_keys())
        before, after = await asyncio.to_thread(file.change, lambda keys: _without(keys, old))
        # Somebody may have sealed with one of them in the last moment, and saved it only now.
        await self._sleep(SETTLE_SECONDS)
        try:
            _require_unused(old, await self._store.sealing_keys())
        except Conflict:
            await asyncio.to_thread(file.change, lambda keys: tuple(dict.fromkeys((*keys, *before))))
            raise
        kept = {key.id for key in after}
        return [each for each in old if each not in kept]

    def _with_another(self, keys: Sequence[SealingKey], texts: Mapping[str, int]) -> Sequence[SealingKey]:
        is_broken_off = len(keys) > 1 and not texts.get(keys[0].id)
        return keys if is_broken_off else (SealingKey(self._random(KEY_BYTES)), *keys)


def _without(keys: Sequence[SealingKey], old: Sequence[str]) -> Sequence[SealingKey]:
    return [key for at, key in enumerate(keys) if not at or key.id not in old]


def _require_unused(old: Sequence[str], texts: Mapping[str, int]) -> None:
    used = [f"{each} ({texts[each]:,})" for each in old if texts.get(each)]
    if used:
        raise Conflict(
            f"There are texts that are sealed by old keys: {', '.join(used)}. No key was retired.",
            hint="`treadle admin keys rotate --no-new-key` seals them anew; what it cannot open it names.",
        )
