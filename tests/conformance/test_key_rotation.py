"""Sealing keys are replaced while everybody works, on each database: nothing fails to open, and nothing is lost."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.directory import another_process
from tests.support.sealing import (
    every_sealed_text,
    key_file,
    sealed_hook,
    sealed_repository,
    sealed_run,
    sealed_signing_key,
    sealed_token,
    sealed_webhook,
)
from tests.support.stores import NOW, World, later

from treadle.domain.errors import ConfigurationError, Conflict
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.ports.trust import SealedKind, SealedRow
from treadle.services.credentials import CLAUDE, SECRETS_TABLE
from treadle.services.key_rotation import KeyRotation
from treadle.services.sealing import BATCH, Sealing, place_of
from treadle.store.sql import SqlStore
from treadle.vault import AesGcmVault, EnvironmentKeys, FileKeys, KeyFile, SealingKey

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 120.0

#: Runs that each process of a turmoil leaves alive at least.
LEFT = 6

OLD, NEW, LOST = (SealingKey(text * 32) for text in (b"o", b"n", b"l"))


async def at_once(seconds: float) -> None:
    """Waits no longer than others need to go on."""
    await asyncio.sleep(0)


def rotation_of(world: World, file: KeyFile) -> KeyRotation:
    return KeyRotation(world.store, FileKeys(file), sleep=at_once)


async def all_rows(store: SqlStore) -> Sequence[SealedRow]:
    return [row for kind in SealedKind for row in await store.sealed_rows(kind, not_key="", after=None, limit=100_000)]


async def texts(store: SqlStore, vault: AesGcmVault) -> Sequence[tuple[str, str, str]]:
    """Everything in the clear."""
    found = []
    for sealed in await all_rows(store):
        organization, table, place = place_of(sealed)
        clear = vault.open(sealed.sealed, organization=organization, table=table, row=place)
        found.append((sealed.owner, sealed.name, clear))
    return sorted(found)


async def one_of_each(world: World, vault: AesGcmVault) -> None:
    await sealed_run(world, vault)
    await sealed_repository(world, vault)
    await sealed_signing_key(world, vault)
    await sealed_token(world, vault)
    await sealed_webhook(world, vault)
    await sealed_hook(world, vault)


async def test_a_rotation_makes_a_key_and_seals_everything_with_it(world: World, tmp_path: Path) -> None:
    file, vault = key_file(tmp_path, OLD), AesGcmVault([OLD])
    await one_of_each(world, vault)
    before = await texts(world.store, vault)
    done = await rotation_of(world, file).rotate()
    assert (done.is_new, done.others, done.resealed.count, done.resealed.unopened) == (True, (OLD.id,), 10, ())
    assert done.resealed.is_settled
    first, second = file.read()
    assert (first.id, second) == (done.key_id, OLD)
    assert await world.store.sealing_keys() == {first.id: 10}
    assert await texts(world.store, AesGcmVault([first])) == before


async def test_more_texts_than_are_read_at_a_time(world: World, tmp_path: Path) -> None:
    vault = AesGcmVault([OLD])
    for _ in range(BATCH // 2 + 3):
        await sealed_run(world, vault)
    done = await rotation_of(world, key_file(tmp_path, OLD)).rotate()
    assert done.resealed.count == BATCH + 6
    assert await world.store.sealing_keys() == {done.key_id: BATCH + 6}


async def test_old_keys_are_retired_once_they_seal_nothing(world: World, tmp_path: Path) -> None:
    file = key_file(tmp_path, OLD)
    await one_of_each(world, AesGcmVault([OLD]))
    keys = rotation_of(world, file)
    done = await keys.rotate()
    await sealed_run(world, AesGcmVault([OLD]))  # by somebody who has not heard of it
    with pytest.raises(Conflict, match=rf"{OLD.id} \(2\)"):
        await keys.retire()
    assert len(file.read()) == 2
    assert (await keys.rotate(makes_key=False)).resealed.count == 2
    assert await keys.retire() == [OLD.id]
    assert [key.id for key in file.read()] == [done.key_id]
    assert await keys.retire() == []


async def test_a_key_comes_back_that_somebody_sealed_with_in_the_last_moment(world: World, tmp_path: Path) -> None:
    file = key_file(tmp_path, NEW, OLD)

    async def late(seconds: float) -> None:
        assert file.read() == (NEW,)
        await sealed_run(world, AesGcmVault([OLD]))

    with pytest.raises(Conflict, match=OLD.id):
        await KeyRotation(world.store, FileKeys(file), sleep=late).retire()
    assert file.read() == (NEW, OLD)


async def test_what_does_not_open_is_named_and_left(world: World, tmp_path: Path) -> None:
    run = await sealed_run(world, AesGcmVault([LOST]))
    await sealed_run(world, AesGcmVault([OLD]))
    before = await world.store.run_secrets(run.id)
    keys = rotation_of(world, key_file(tmp_path, OLD))
    done = await keys.rotate()
    assert done.resealed.count == 2
    assert sorted(done.resealed.unopened) == [f"run {run.uuid}/claude", f"run {run.uuid}/git_http"]
    assert await world.store.run_secrets(run.id) == before
    assert [(use.id, use.seals, use.is_loaded, use.texts) for use in await keys.keys()] == [
        (done.key_id, True, True, 2),
        (OLD.id, False, True, 0),
        (LOST.id, False, False, 2),
    ]
    assert await keys.retire() == [OLD.id]  # the lost one keeps no other


async def test_a_rotation_that_broke_off_before_it_sealed_goes_on_with_its_key(world: World, tmp_path: Path) -> None:
    file = key_file(tmp_path, NEW, OLD)
    await sealed_run(world, AesGcmVault([OLD]))
    done = await rotation_of(world, file).rotate()
    assert (done.key_id, done.is_new) == (NEW.id, False)
    assert file.read() == (NEW, OLD)
    again = await rotation_of(world, file).rotate()
    assert again.is_new
    assert len(file.read()) == 3


async def test_keys_of_the_environment_are_only_sealed_with(world: World) -> None:
    await sealed_run(world, AesGcmVault([OLD]))
    keys = KeyRotation(world.store, EnvironmentKeys(f"{NEW.text},{OLD.text}"), sleep=at_once)
    done = await keys.rotate()
    assert (done.key_id, done.is_new, done.others, done.resealed.count) == (NEW.id, False, (OLD.id,), 2)
    with pytest.raises(ConfigurationError, match="TREADLE_SECRET_KEY"):
        await keys.retire()


async def test_a_process_that_does_not_follow_is_told_of(world: World) -> None:
    await sealed_run(world, AesGcmVault([OLD]))

    async def sealing(seconds: float) -> None:
        await sealed_run(world, AesGcmVault([OLD]))

    found = await Sealing(world.store, AesGcmVault([NEW, OLD]), sleep=sealing).seal_anew()
    assert not found.is_settled


async def test_two_rotations_at_once_end_with_one_key(world: World, tmp_path: Path) -> None:
    file = key_file(tmp_path, OLD)
    for _ in range(20):
        await run_and_signing_key(world, AesGcmVault([OLD]))
    async with another_process(world) as other:
        await asyncio.gather(
            *(KeyRotation(store, FileKeys(file)).rotate() for store in (world.store, other)),
        )
    keys = file.read()
    assert keys[-1] == OLD
    assert await world.store.sealing_keys() == {keys[0].id: 60}


async def run_and_signing_key(world: World, vault: AesGcmVault) -> None:
    await sealed_run(world, vault)
    await sealed_signing_key(world, vault)


# ---- in turmoil ------------------------------------------------------------------------------------------------------


class Turmoil:
    """A process of the service: it starts runs, gives them other credentials, works on them, ends some."""

    def __init__(self, world: World, store: SqlStore, file: KeyFile) -> None:
        self._world = World(store, world.url, world.principal)
        self._store = store
        self._vault = AesGcmVault.following(FileKeys(file))
        self._living: dict[str, int] = {}
        self.expected: dict[str, str] = {}  # what each living run has for Claude
        self.count = 0
        self.is_at_work = asyncio.Event()

    async def go(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set() or len(self._living) < LEFT:
                await asyncio.gather(*(self._live_through() for _ in range(4)))
                await asyncio.gather(*(self._see(run_id, uuid) for uuid, run_id in list(self._living.items())[:20]))
        finally:
            self.is_at_work.set()  # or whoever waits for it would not hear what went wrong

    async def _live_through(self) -> None:
        clear = f"{uuid4()}"
        run = await sealed_run(self._world, self._vault, clear)
        self.expected[str(run.uuid)] = clear
        await self._see(run.id, str(run.uuid))
        claimed = await self._store.claim("worker", NOW, run_id=run.id)
        assert claimed is not None
        for _ in range(3):
            await self._update(run.id, str(run.uuid))
            await self._see(run.id, str(run.uuid))
        self.count += 1
        self.is_at_work.set()
        if self.count % 2:
            await self._store.finish(Fence(run.id, claimed.lease), RunStatus.SUCCESS, None, later(1))
            del self.expected[str(run.uuid)]
        else:
            self._living[str(run.uuid)] = run.id

    async def _update(self, run_id: int, uuid: str) -> None:
        clear = f"{uuid4()}"
        place = row_of(uuid)
        sealed = self._vault.seal(
            clear, organization=self._world.principal.organization_uuid, table=SECRETS_TABLE, row=place
        )
        await self._store.put_run_secrets(run_id, {CLAUDE: sealed}, None, NOW)
        self.expected[uuid] = clear

    async def _see(self, run_id: int, uuid: str) -> None:
        """As a worker that is about to call an engine."""
        sealed = (await self._store.run_secrets(run_id))[CLAUDE]
        found = self._vault.open(
            sealed, organization=self._world.principal.organization_uuid, table=SECRETS_TABLE, row=row_of(uuid)
        )
        assert found == self.expected[uuid]


def row_of(uuid: str) -> str:
    return f"{uuid}/{CLAUDE}"


@asynccontextmanager
async def turmoil(world: World, file: KeyFile) -> AsyncIterator[dict[str, str]]:
    """Two processes at work; what all runs have is there when it ends."""
    stop = asyncio.Event()
    expected: dict[str, str] = {}
    async with another_process(world) as other:
        processes = [Turmoil(world, store, file) for store in (world.store, other)]
        work = [asyncio.create_task(each.go(stop)) for each in processes]
        try:
            await asyncio.gather(*(each.is_at_work.wait() for each in processes))
            yield expected
        finally:
            stop.set()
            await asyncio.gather(*work)
        for each in processes:
            expected |= each.expected


async def ends_whole(world: World, file: KeyFile, expected: dict[str, str]) -> None:
    vault = AesGcmVault([file.read()[0]])
    found = {owner: clear for owner, name, clear in await texts(world.store, vault) if name == CLAUDE}
    assert found == expected
    assert len(found) >= 2 * LEFT


async def seal_the_rest(world: World, file: KeyFile) -> int:
    """How many texts there were that another key had sealed."""
    return (await rotation_of(world, file).rotate(makes_key=False)).resealed.count


def rotator(world: World, file: KeyFile, times: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.rotator", world.url, file.path, str(times)],
        stdout=subprocess.PIPE,
        text=True,
    )


async def said_by(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return (await asyncio.to_thread(process.stdout.readline)).strip()


async def test_keys_rotate_twice_while_processes_work(world: World, tmp_path: Path) -> None:
    file = key_file(tmp_path, OLD)
    async with turmoil(world, file) as expected:
        with rotator(world, file, 2) as process:
            said = [await said_by(process) for _ in range(4)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await seal_the_rest(world, file):  # those who work take the key up by themselves
                pass
    assert process.returncode == 0
    assert [line.split()[-1] for line in (said[1], said[3])] == ["0", "0"]  # unopened
    assert len(file.read()) == 3
    await seal_the_rest(world, file)  # what somebody who stood still for seconds has saved since
    await ends_whole(world, file, expected)
    first, second, _ = file.read()
    assert await rotation_of(world, file).retire() == [second.id, OLD.id]
    assert file.read() == (first,)
    await ends_whole(world, file, expected)


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.1])
async def test_a_rotation_is_killed_and_done_again(world: World, tmp_path: Path, seconds: float) -> None:
    file = key_file(tmp_path, OLD)
    for _ in range(100):
        await sealed_repository(world, AesGcmVault([OLD]), f"group/{uuid4()}")
    async with turmoil(world, file) as expected:
        with rotator(world, file, 1) as process:
            assert await said_by(process) == "begun"
            await asyncio.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        done = await KeyRotation(world.store, FileKeys(file)).rotate()
    assert done.resealed.unopened == ()
    await seal_the_rest(world, file)  # what somebody who stood still for seconds has saved since
    assert await world.store.sealing_keys() == {done.key_id: len(await every_sealed_text(world.store))}
    await ends_whole(world, file, expected)
