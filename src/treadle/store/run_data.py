"""What a run has beside its row: checkpoint, artifacts, sealed secrets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select, update

from treadle.domain.errors import AlreadyFinished, Conflict, NotFound
from treadle.domain.events import Draft
from treadle.domain.run import Artifact, Checkpoint, EngineName
from treadle.domain.states import RUN_ALIVE, Phase
from treadle.ports import Fence
from treadle.store import events
from treadle.store.prepared import Prepared, Row, among, put_into
from treadle.store.secrets import by_owner
from treadle.store.secrets import put as put_secrets
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import artifacts, checkpoints, runs
from treadle.store.transitions import held, standing
from treadle.store.values import date_of, micros, plain, structured_json, structured_of

_PUT_CHECKPOINT = put_into(checkpoints)
_CHECKPOINT = Prepared(select(*checkpoints.columns).where(checkpoints.c.run_id == bindparam("run")))
_PUT_ARTIFACT = put_into(artifacts)
_ARTIFACTS = Prepared(
    select(*artifacts.columns).where(artifacts.c.run_id == bindparam("run")).order_by(artifacts.c.name)
)
_COUNT_SECRETS = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"), among(runs.c.status, RUN_ALIVE))
    .values(
        secrets_version=runs.c.secrets_version + 1,
        last_event=runs.c.last_event + bindparam("count", type_=runs.c.last_event.type),
        event_bytes=runs.c.event_bytes + bindparam("bytes", type_=runs.c.event_bytes.type),
        date_updated=bindparam("now", type_=runs.c.date_updated.type),
    )
    .returning(runs.c.uuid, runs.c.organization_id, runs.c.last_event)
)
_UUID = Prepared(select(runs.c.uuid).where(runs.c.id == bindparam("run")))


class RunData:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def save_checkpoint(self, fence: Fence, checkpoint: Checkpoint) -> None:
        def work(session: Session) -> None:
            held(session, fence)
            session.run(
                _PUT_CHECKPOINT,
                run_id=fence.run_id,
                step=checkpoint.step,
                phase=checkpoint.phase.value,
                session=plain(checkpoint.session),
                engine=checkpoint.engine.value,
                session_blob=checkpoint.session_blob,
                patch_blob=checkpoint.patch_blob,
                base_sha=checkpoint.base_sha,
                output=plain(checkpoint.output),
                structured_output=structured_json(checkpoint.structured_output),
                is_phase_done=checkpoint.is_phase_done,
                size=checkpoint.size,
            )

        try:
            await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound(f"Run {fence.run_id} has no step {checkpoint.step}.") from error

    async def checkpoint(self, run_id: int) -> Checkpoint | None:
        row = await self._executor.glance(lambda session: session.one(_CHECKPOINT, run=run_id))
        if row is None:
            return None
        _, step, phase, conversation, engine, session_blob, patch_blob, base_sha, output, structured, *more = row
        is_done, size = more
        return Checkpoint(
            run_id,
            step,
            Phase(phase),
            conversation,
            EngineName(engine),
            session_blob,
            patch_blob,
            base_sha,
            output,
            structured_of(structured),
            bool(is_done),
            size,
        )

    async def add_artifact(self, fence: Fence, artifact: Artifact) -> None:
        def work(session: Session) -> None:
            held(session, fence)
            session.run(
                _PUT_ARTIFACT,
                run_id=fence.run_id,
                name=plain(artifact.name),
                content_type=artifact.content_type,
                size=artifact.size,
                blob=artifact.blob,
                date_created=micros(artifact.date_created),
            )

        await self._executor.write(work, again=work)

    async def artifacts(self, run_id: int) -> Sequence[Artifact]:
        rows = await self._executor.glance(lambda session: session.all(_ARTIFACTS, run=run_id))
        return tuple(_artifact_of(row) for row in rows)

    async def put_run_secrets(
        self,
        run_id: int,
        secrets: Mapping[str, str | None],
        event: Draft | None,
        now: datetime,
        *,
        instead_of: Mapping[str, str] | None = None,
    ) -> None:
        batch = events.Batch([] if event is None else [event])

        def work(session: Session) -> None:
            row = session.one(_COUNT_SECRETS, run=run_id, count=len(batch), bytes=batch.size, now=micros(now))
            if row is None:
                status = standing(session, run_id).status
                raise AlreadyFinished(f"The run has ended: {status}.")
            uuid, organization_id, last = row
            if instead_of and not instead_of.items() <= by_owner(session, UUID(uuid)).items():
                raise Conflict("The run's secrets were changed meanwhile.")
            put_secrets(session, UUID(uuid), organization_id, secrets, now)
            if batch:
                events.write(session, run_id, last, batch, now)

        await self._executor.write(work)

    async def run_secrets(self, run_id: int) -> Mapping[str, str]:
        def work(session: Session) -> Mapping[str, str]:
            row = session.one(_UUID, run=run_id)
            if row is None:
                raise NotFound(f"There is no run {run_id}.")
            return by_owner(session, UUID(row[0]))

        return await self._executor.read(work)


def _artifact_of(row: Row) -> Artifact:
    run_id, name, content_type, size, blob, created = row
    return Artifact(run_id, name, content_type, size, blob, date_of(created))
