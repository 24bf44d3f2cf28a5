"""The port to what is kept of scripts: their versions, their runs, and each run's journal and log. A run is advanced by
its chore; whatever may give that something to do plans it in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.identity import Principal
from treadle.domain.script_runs import Script, ScriptLogLine, ScriptRun, ScriptRunDraft, ScriptRunStatus, ScriptVersion
from treadle.ports.keys import Idempotency, KeyStore
from treadle.ports.scripting import Answer, ScriptLine
from treadle.ports.scripting import JsonObject as CallArguments
from treadle.ports.trust import AuditEntry


@dataclass(frozen=True, slots=True)
class ScriptFilter:
    """Whose scripts, or runs of scripts. `user_id` None: the whole organization's."""

    organization_id: int
    user_id: int | None = None


class ScriptStore(KeyStore, Protocol):
    """Scripts and their runs. What changes a run's state is one compare-and-set; every method that changes something
    may be repeated. Each may raise Unavailable; those that read one raise NotFound for what is unknown or out of
    `seen_by`."""

    async def save_script(
        self,
        principal: Principal,
        name: str,
        source: str,
        *,
        description: str | None,
        uuid: UUID,
        now: datetime,
        keep: int,
        most: int,
        if_version: int | None = None,
    ) -> Script:
        """The script of that name with one more version, of which the last `keep` are kept; a new one where there is
        none. The same source and description as the newest version's make no version. An archived one is back.
        `description` None leaves it as it is. Raises Conflict where `if_version` is given and is not its version, an
        archived one's or none's being 0, unless it is already as it is to be; and where the organization has `most`
        that are not archived, and this would be one more."""

    async def script(self, which: int | str, seen_by: ScriptFilter) -> Script:
        """By its id or its name, archived ones too."""

    async def scripts(self, seen_by: ScriptFilter) -> Sequence[Script]:
        """Those that are not archived, by their names."""

    async def script_version(self, script_id: int, version: int) -> ScriptVersion: ...

    async def script_versions(self, script_id: int) -> Sequence[ScriptVersion]:
        """Those that are kept, the newest first."""

    async def archive_script(self, script_id: int, now: datetime) -> bool:
        """Whether it was not that before."""

    async def add_script_run(
        self,
        draft: ScriptRunDraft,
        principal: Principal,
        *,
        uuid: UUID,
        now: datetime,
        keep: int,
        most_alive: int,
        idempotency: Idempotency | None = None,
        audit: AuditEntry | None = None,
    ) -> tuple[ScriptRun, bool]:
        """New, its chore due; and whether it is new: False repeats an earlier answer. Of the organization's that have
        ended, the last `keep` are kept. Raises IdempotencyMismatch, and Conflict where `most_alive` of the
        organization's are New or Running."""

    async def script_run(self, which: int | UUID, seen_by: ScriptFilter) -> ScriptRun: ...

    async def script_run_by_id(self, script_run_id: int) -> ScriptRun: ...

    async def script_runs(
        self, seen_by: ScriptFilter, *, script_id: int | None = None, limit: int, before: int | None = None
    ) -> Sequence[ScriptRun]:
        """Newest first, those whose ids are smaller than `before`; without sources and inputs."""

    async def begin_script_run(self, script_run_id: int, now: datetime) -> bool:
        """New -> Running; whether it is Running now."""

    async def wait_script_run(self, script_run_id: int, waits_for: JsonObject) -> None:
        """What a Running one waits for."""

    async def end_script_run(
        self,
        script_run_id: int,
        status: ScriptRunStatus,
        now: datetime,
        *,
        outputs: JsonValue = None,
        details: str | None = None,
    ) -> bool:
        """New or Running -> `status`; whether this did it."""

    async def answer_call(
        self, script_run_id: int, answer: Answer, arguments: CallArguments, now: datetime
    ) -> Answer | None:
        """Writes into the journal what a call is answered, once: what is there already stays, and is the result. None:
        the run has ended, and nothing was written."""

    async def journal(self, script_run_id: int) -> Sequence[Answer]:
        """In order."""

    async def tell_script_line(self, script_run_id: int, line: ScriptLine, now: datetime) -> None:
        """Into the log, once."""

    async def script_log(self, script_run_id: int, *, after: int, limit: int) -> Sequence[ScriptLogLine]:
        """Those numbered above `after`."""
