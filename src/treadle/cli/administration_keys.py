"""What `treadle admin keys` does."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from treadle import factory, logs
from treadle.cli import interrupts, output
from treadle.cli.administration import show_many
from treadle.cli.failures import Stopped
from treadle.cli.lines import counted
from treadle.cli.output import FAILED
from treadle.clock import SystemClock
from treadle.services.audit import Audit, Door, origin
from treadle.services.audit_actions import Action
from treadle.services.key_rotation import KeyRotation, KeyUse, Rotation
from treadle.services.setup_results import forget_other_keys
from treadle.settings import Settings
from treadle.vault import FileKeys, KeySource, key_source

#: Places of texts that do not open, which are named.
_SHOWN: Final = 20

_ELSEWHERE: Final = (
    "The keys are in {name}, where no key can be made from here. Before this, every process has to open the new key: "
    "give it as the last one to all, restart them, then as the first. Without that, make it the last one now and begin "
    "again. Afterwards, once `treadle admin keys list` says that the old one has sealed nothing, take it out."
)


@dataclass(frozen=True, slots=True)
class KeyAdministration:
    """One command's work on the database and the keys of the settings."""

    is_json: bool

    def list(self) -> None:
        settings = _settings()

        async def work() -> Sequence[KeyUse]:
            async with factory.storage(settings) as (store, _):
                return await KeyRotation(store, key_source(settings)).keys()

        show_many(
            [
                {"key": each.id, "seals": each.seals, "loaded": each.is_loaded, "texts": each.texts}
                for each in interrupts.run(work())
            ],
            is_json=self.is_json,
        )

    def rotate(self, *, makes_key: bool, retires: bool) -> None:
        """Raises Stopped when texts are left that the new key has not sealed, Conflict when a key is still needed,
        ConfigurationError."""
        settings = _settings()
        source = key_source(settings)

        async def work() -> tuple[Rotation, int, Sequence[str]]:
            async with factory.storage(settings) as (store, blobs):
                keys, audit = KeyRotation(store, source), Audit(store, SystemClock())

                async def made(key_id: str) -> None:
                    await audit.note(Action.KEY_MADE, detail={"key": key_id})

                rotation = await keys.rotate(makes_key=makes_key, tell=made)
                forgotten = await forget_other_keys(blobs, rotation.key_id)
                if not self.is_json:
                    _tell(rotation, forgotten, source, makes_key=makes_key)
                retired = await keys.retire() if retires else ()
                detail = _record(rotation, forgotten, retired)
                await audit.note(Action.KEYS_ROTATED, detail=detail)
                return rotation, forgotten, retired

        with origin(Door.CLI, actor="operator"):
            rotation, forgotten, retired = interrupts.run(work())
        if self.is_json:
            output.as_json(_record(rotation, forgotten, retired))
        else:
            _tell_retired(rotation, retired)
        if rotation.resealed.unopened or not rotation.resealed.is_settled:
            raise Stopped(FAILED)


def _settings() -> Settings:
    settings = Settings.load(os.environ)
    logs.configure(settings)
    return settings


def _record(rotation: Rotation, forgotten: int, retired: Sequence[str]) -> dict[str, str | int | bool | list[str]]:
    return {
        "key": rotation.key_id,
        "isNew": rotation.is_new,
        "resealed": rotation.resealed.count,
        "setupResultsRemoved": forgotten,
        "unopened": len(rotation.resealed.unopened),
        "isSettled": rotation.resealed.is_settled,
        "others": [each for each in rotation.others if each not in retired],
        "retired": list(retired),
    }


def _tell(rotation: Rotation, forgotten: int, source: KeySource, *, makes_key: bool) -> None:
    if makes_key and not isinstance(source, FileKeys):
        output.note(_ELSEWHERE.format(name=source.name))
    made = "was made and seals" if rotation.is_new else "seals"
    output.line(f"The key {rotation.key_id} {made} from now on.")
    output.line(f"{counted(rotation.resealed.count, 'text')} sealed anew with it.")
    if forgotten:
        output.line(f"{counted(forgotten, 'result')} of setup commands removed, which other keys had sealed.")
    unopened = rotation.resealed.unopened
    if unopened:
        output.note(f"{counted(len(unopened), 'text')} cannot be opened with any key that is loaded, and stayed:")
        for each in unopened[:_SHOWN]:
            output.note(f"  {each}")
    if not rotation.resealed.is_settled:
        output.note(
            "Something still seals with another key: a process that has these keys from another place, or of a version "
            "that does not look for new ones. Restart it, then rotate again with --no-new-key."
        )


def _tell_retired(rotation: Rotation, retired: Sequence[str]) -> None:
    if retired:
        output.line(f"Retired: {', '.join(retired)}. Backups from before need them: keep the keys with those.")
    elif rotation.others:
        output.note(f"Still loaded, to open with: {', '.join(rotation.others)}. --retire drops what seals nothing.")
