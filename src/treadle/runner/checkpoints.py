"""What a crash may not cost twice: after each phase the engine's conversation and the uncommitted work are kept. The
last one outlives the run: a resume goes on with its conversation."""

import asyncio
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from treadle.domain.errors import GitError, NotFound, WorkspaceError
from treadle.domain.run import Checkpoint, EngineName, Run, Step, StructuredOutput
from treadle.domain.states import Phase
from treadle.ports import Engine, Layout, Outcome, Workspace
from treadle.runner import config_files
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.services.content import checkpoints_of
from treadle.services.progress import Progress

#: A conversation's files larger than this, in bytes all together, are not kept: the next worker begins a new one.
MAX_SESSION_BYTES = 256 << 20

#: Checkpoints of a claim whose bytes are kept while it goes on.
KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where to go on. `session` None begins a new conversation; `done` names the phases of `step` not to repeat."""

    session: str | None = None
    engine: EngineName | None = None
    step: int | None = None
    done: tuple[Phase, ...] = ()
    output: str | None = None
    structured_output: StructuredOutput | None = None


class Checkpoints:
    """Saves and restores the state of one claimed run."""

    def __init__(self, store: PatientStore, blobs: PatientBlobs, progress: Progress, run: Run) -> None:
        self._store = store
        self._blobs = blobs
        self._progress = progress
        self._prefix = checkpoints_of(run.uuid)
        self._run_id = run.id
        self._blobs_kept: list[Sequence[str]] = []  # of this claim's checkpoints, the newest last

    async def save(
        self,
        workspace: Workspace,
        layout: Layout,
        engine: Engine,
        step: Step,
        phase: Phase,
        outcome: Outcome,
        *,
        base_sha: str,
        patch: bytes,
        is_phase_done: bool = True,
    ) -> None:
        """Durable on return. `patch`: the work that is not pushed, on `base_sha`. `is_phase_done` False: the phase
        failed, and the conversation is kept for a resume."""
        name = f"{self._prefix}{step.position}-{phase.lower()}-{self._progress.fence.lease}"
        name += "" if is_phase_done else "-failed"
        session_blob = patch_blob = None
        size = len(patch)
        if outcome.session is not None:
            # In a thread: a long conversation would hold up every other run, and its lease.
            with _scratch(workspace) as archive:
                clean = self._progress.clean
                if await asyncio.to_thread(
                    _pack, archive, workspace.box.config, engine, layout, outcome.session, clean
                ):
                    session_blob = f"{name}.tar"
                    size += await self._blobs.put(session_blob, archive)
        if patch:
            patch_blob = f"{name}.patch"
            await self._blobs.put(patch_blob, patch)
        await self._store.save_checkpoint(
            self._progress.fence,
            Checkpoint(
                run_id=self._run_id,
                step=step.position,
                phase=phase,
                session=outcome.session,
                engine=engine.name,
                session_blob=session_blob,
                patch_blob=patch_blob,
                base_sha=base_sha,
                output=self._progress.clean(outcome.output) if outcome.output is not None else None,
                structured_output=self._progress.clean_answer(outcome.structured_output),
                is_phase_done=is_phase_done,
                size=size,
            ),
        )
        await self._remember([blob for blob in (session_blob, patch_blob) if blob is not None])

    async def _remember(self, blobs: Sequence[str]) -> None:
        """The one before the last is kept too: a backup may have the row of that one, and take the bytes later."""
        self._blobs_kept.append(blobs)
        if len(self._blobs_kept) > KEPT_CHECKPOINTS:
            for blob in self._blobs_kept.pop(0):
                if not any(blob in kept for kept in self._blobs_kept):
                    await self._blobs.delete(blob)

    async def restore(self, workspace: Workspace, layout: Layout, engine: Engine, step: Step | None) -> Resumption:
        """Puts back what the last worker kept for `step`, the first that is not done."""
        kept = await self._store.checkpoint(self._run_id)
        if kept is None or kept.engine is not engine.name:
            return Resumption()
        session = kept.session
        if session is not None and kept.session_blob is not None:
            try:
                with _scratch(workspace) as archive:
                    await self._blobs.download(kept.session_blob, archive)
                    await asyncio.to_thread(_unpack, archive, workspace.box.config, engine, layout, session)
            except (NotFound, tarfile.TarError):
                session = None
            except OSError as error:
                raise WorkspaceError(f"The conversation could not be restored: {error.strerror or error}.") from error
        else:
            session = None
        if step is None or kept.step != step.position or not kept.is_phase_done:
            return Resumption(session, kept.engine)
        if kept.patch_blob is not None:
            try:
                await workspace.apply(await self._blobs.get(kept.patch_blob))
            except (NotFound, GitError):  # the branch moved under it: the step begins anew, in the same conversation
                await workspace.undo()
                return Resumption(session, kept.engine)
        done = step.phases[: step.phases.index(kept.phase) + 1]
        return Resumption(session, kept.engine, kept.step, done, kept.output, kept.structured_output)

    async def settle(self) -> None:
        """At the run's end: keeps the last one, whose conversation a resume goes on with, and removes the others."""
        kept = await self._store.checkpoint(self._run_id)
        keys = () if kept is None else (kept.session_blob, kept.patch_blob)
        await self._blobs.keep_only(self._prefix, {key for key in keys if key is not None})


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[Path]:
    """The place of a file that the agent cannot reach, and that goes with the workspace. A conversation is large, and a
    worker has many."""
    path = workspace.box.home.parent / "session.tar"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _pack(
    target: Path, config: Path, engine: Engine, layout: Layout, session: str, clean: Callable[[str], str]
) -> bool:
    """Writes the conversation's files as a tar; each is named by the number of the pattern that it matched, then its
    path. False when there are none, or too many bytes of them. The run's secrets are taken out: what an agent printed
    of them would outlive the run."""
    size = 0
    with target.open("xb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        for number, pattern in enumerate(engine.session_files(layout, session)):
            for path in config_files.matching(config, pattern):
                content = config_files.read_plain(config, path)
                if content is None:
                    continue
                content = clean(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")
                size += len(content)
                if size > MAX_SESSION_BYTES:
                    return False
                entry = tarfile.TarInfo(json.dumps([number, path]))
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return bool(size)


def _unpack(archive: Path, config: Path, engine: Engine, layout: Layout, session: str) -> None:
    """A pattern without wildcards names the file's place here, which may be another than where it was packed."""
    patterns = engine.session_files(layout, session)
    with tarfile.open(archive) as entries:
        for entry in entries:
            number, path = json.loads(entry.name)
            pattern = patterns[number] if number < len(patterns) else path
            file = entries.extractfile(entry)
            if file is not None:
                target = path if any(mark in pattern for mark in "*?[") else pattern
                config_files.write_private(config, target, file.read())
