"""What `treadle prune` does."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from treadle import factory, logs
from treadle.cli import interrupts, output
from treadle.cli.lines import counted
from treadle.clock import SystemClock
from treadle.domain.sizes import show_size
from treadle.services.audit import OPERATOR, Audit, Door, origin
from treadle.services.audit_actions import Action
from treadle.services.retention import Keep, Pruned, Retention
from treadle.settings import Settings
from treadle.store.address import SqliteAddress, parse
from treadle.workspace import GitWorkspaces
from treadle.workspace.pruning import WORKSPACES, PrunedMirrors, Shelf

#: Where `treadle run` keeps its own mirrors, below the data directory.
LOCAL = "local"

_HEAD = ("WHAT", "RUNS", "ITEMS", "REMOVED", "LEFT")
_DRY_HEAD = ("WHAT", "RUNS", "ITEMS", "TO REMOVE", "THERE")


@dataclass(frozen=True, slots=True)
class Part:
    """One row. None: not counted, or there is no such number. Sizes in bytes."""

    name: str
    runs: int | None = None
    items: int | None = None
    size: int | None = None
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a prune did, or would do."""

    parts: tuple[Part, ...]
    used_mirrors: int = 0  # that stay because they are in use


@dataclass(frozen=True, slots=True)
class Pruning:
    """One command's work on the database, the files and the directory of the settings."""

    is_dry_run: bool
    is_json: bool

    def prune(self, overrides: Mapping[str, object]) -> None:
        """Raises ConfigurationError."""
        settings = Settings.load(os.environ, **overrides)
        logs.configure(settings)  # what cannot be removed is told beside the result
        limits = Limits.of(settings)
        is_looking = self.is_dry_run or not limits.is_any
        outcome = interrupts.run(_work(settings, limits, is_looking=is_looking))
        if self.is_json:
            parts = {part.name: _json(part) for part in outcome.parts}
            output.as_json({"isLimited": limits.is_any, "isDryRun": is_looking, **parts})
            return
        output.table(_DRY_HEAD if is_looking else _HEAD, [_row(part) for part in outcome.parts])
        for note in self._notes(settings, limits, outcome):
            output.note(note)

    def _notes(self, settings: Settings, limits: "Limits", outcome: Outcome) -> list[str]:
        notes = []
        if not limits.is_any:
            notes.append(
                "Nothing was removed: no limit is set. Give one, such as --events-days 90, or a TREADLE_KEEP_… setting."
            )
        elif self.is_dry_run:
            notes.append("Nothing was removed: a dry run.")
        elif limits.events.is_limited and isinstance(parse(factory.database_url(settings)), SqliteAddress):
            notes.append("The database's file keeps its size; what is free in it is used again.")
        if outcome.used_mirrors:
            verb = "is" if outcome.used_mirrors == 1 else "are"
            notes.append(f"{counted(outcome.used_mirrors, 'mirror')} would go too, but {verb} in use.")
        return notes


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept of each."""

    events: Keep
    artifacts: Keep
    mirrors: Keep

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            Keep(settings.keep_events_days, settings.keep_events_bytes),
            Keep(settings.keep_artifacts_days, settings.keep_artifacts_bytes),
            Keep(settings.keep_mirrors_days, settings.keep_mirrors_bytes),
        )

    @property
    def is_any(self) -> bool:
        return self.events.is_limited or self.artifacts.is_limited or self.mirrors.is_limited


async def _work(settings: Settings, limits: Limits, *, is_looking: bool) -> Outcome:
    clock = SystemClock()
    async with factory.storage(settings) as (store, blobs):
        retention = Retention(store, blobs, clock)
        events = await retention.prune_events(limits.events, is_dry_run=is_looking)
        sessions = await retention.prune_sessions(limits.events, is_dry_run=is_looking)
        automation = await retention.prune_automation(limits.events, is_dry_run=is_looking)
        artifacts = await retention.prune_artifacts(limits.artifacts, is_dry_run=is_looking)
        # Where files are no concern, as beside a worker, nobody goes through the whole bucket for them.
        is_for_files = limits.artifacts.is_limited or not limits.is_any
        unnamed = await retention.prune_leftovers(is_dry_run=is_looking) if is_for_files else Pruned()
        events_left, artifacts_left = await retention.sizes()
        if limits.is_any and not is_looking:
            with origin(Door.CLI, actor=OPERATOR):
                removed = {"events": events.runs, "artifacts": artifacts.runs, "automation": automation.items}
                await Audit(store, clock).note(Action.PRUNED, detail={**removed})
    local = settings.data_dir / LOCAL
    roots = (settings.data_dir, local) if local.is_dir() else (settings.data_dir,)
    mirrors, left_over = await _machine(roots, limits.mirrors, clock.now(), is_looking=is_looking)
    is_counted = not is_looking
    return Outcome(
        (
            _part("events", events, events_left, is_counted=is_counted),
            Part("sessions", None, None if is_looking else sessions.items),
            Part("automation", None, None if is_looking else automation.items),
            _part("artifacts", artifacts, artifacts_left, is_counted=is_counted),
            Part("mirrors", None, len(mirrors.gone), sum(mirror.size for mirror in mirrors.gone), mirrors.left),
            replace(left_over, items=(left_over.items or 0) + unnamed.items, size=(left_over.size or 0) + unnamed.size),
        ),
        len(mirrors.used),
    )


async def _machine(
    roots: tuple[Path, ...], keep: Keep, now: datetime, *, is_looking: bool
) -> tuple[PrunedMirrors, Part]:
    """The mirrors, and what killed processes left of mirrors and workspaces."""
    shelf = Shelf(*roots)
    mirrors = await shelf.prune(unused_since=keep.since(now), most_bytes=keep.size, is_dry_run=is_looking)
    leavings = await shelf.leavings()
    if not is_looking:
        await shelf.clear()
        for root in roots:
            if any(path.is_relative_to(root / WORKSPACES) for path in leavings.paths):
                await GitWorkspaces(root).sweep(frozenset())
    return mirrors, Part("leftovers", None, len(leavings.paths), leavings.size)


def _part(name: str, pruned: Pruned, left: int, *, is_counted: bool) -> Part:
    return Part(name, pruned.runs, pruned.items if is_counted else None, pruned.size, left)


def _row(part: Part) -> tuple[str, ...]:
    """On a terminal short, in a pipe whole."""
    show = show_size if output.is_terminal() else str
    counts = ("" if number is None else str(number) for number in (part.runs, part.items))
    sizes = ("" if size is None else show(size) for size in (part.size, part.left))
    return (part.name, *counts, *sizes)


def _json(part: Part) -> dict[str, int]:
    named = {"runs": part.runs, "items": part.items, "bytes": part.size, "bytesLeft": part.left}
    return {name: number for name, number in named.items() if number is not None}
