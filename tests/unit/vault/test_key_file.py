"""A key file is changed whole or not at all, by one process at a time."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from treadle.domain.errors import ConfigurationError
from treadle.vault import KeyFile, SealingKey

FIRST, SECOND = SealingKey(b"1" * 32), SealingKey(b"2" * 32)


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    path = tmp_path / "secret.key"
    path.write_text(f"{FIRST.text}\n")
    path.chmod(0o600)
    return KeyFile(path)


def test_a_change_keeps_owner_and_rights(file: KeyFile) -> None:
    file.path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file.path, 1234, 4321)
    before = file.path.stat()
    assert file.change(lambda keys: (SECOND, *keys)) == ((FIRST,), (SECOND, FIRST))
    after = file.path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_ino != before.st_ino
    assert file.read() == (SECOND, FIRST)
    assert list(file.path.parent.iterdir()) == [file.path]


def test_a_key_file_of_its_owner_alone_stays_so(file: KeyFile) -> None:
    file.change(lambda keys: (SECOND, *keys))
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_nothing_is_written_where_nothing_changes(file: KeyFile) -> None:
    before = file.fingerprint()
    assert file.change(lambda keys: keys) == ((FIRST,), (FIRST,))
    assert file.fingerprint() == before


def test_a_link_stays_a_link(file: KeyFile, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.path)
    KeyFile(link).change(lambda keys: (SECOND, *keys))
    assert link.is_symlink()
    assert file.read() == (SECOND, FIRST)


def test_a_file_that_cannot_be_replaced_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be changed: No such file") as caught:
        KeyFile(tmp_path / "missing").change(lambda keys: keys)
    assert "--no-new-key" in caught.value.sentence()


def test_what_a_process_left_that_died_at_it_is_in_nobodys_way(file: KeyFile) -> None:
    (file.path.parent / f".{file.path.name}.changed").write_text("half a ke")
    assert file.change(lambda keys: (SECOND, *keys))[1] == (SECOND, FIRST)
    assert list(file.path.parent.iterdir()) == [file.path]


def test_a_change_takes_nothing_from_the_next_one(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which begins once the file has its name, and not only when the one before has ended."""
    next_one = file.path.parent / f".{file.path.name}.changed"
    really = Path.replace

    def replace(path: Path, target: Path) -> Path:
        found = really(path, target)
        next_one.touch()
        return found

    monkeypatch.setattr(Path, "replace", replace)
    file.change(lambda keys: (SECOND, *keys))
    assert next_one.exists()


def _prepend(path: Path, seeds: Sequence[int]) -> None:
    for seed in seeds:
        KeyFile(path).change(lambda keys, seed=seed: (SealingKey(seed.to_bytes(32, "big")), *keys))  # type: ignore[misc]  # mypy sees no type of a default


def test_of_changes_at_once_none_is_lost(file: KeyFile) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_prepend, args=(file.path, range(at, at + 25))) for at in (100, 200, 300)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)  # each change is made sure of on the disk
    keys = file.read()
    assert {writer.exitcode for writer in writers} == {0}
    assert {int.from_bytes(key.secret, "big") for key in keys[:-1]} == {
        seed for at in (100, 200, 300) for seed in range(at, at + 25)
    }
    assert keys[-1] == FIRST


_FOR_EVER = """
import itertools, sys
from pathlib import Path
from treadle.vault import KeyFile, SealingKey
file = KeyFile(Path(sys.argv[1]))
for seed in itertools.count(1):
    file.change(lambda keys: (SealingKey(seed.to_bytes(32, "big")), *keys[-50:]))
    print(seed, flush=True)
"""


@pytest.mark.parametrize("changes", [1, 2, 5, 17])
def test_a_killed_process_leaves_a_whole_file(file: KeyFile, changes: int) -> None:
    with subprocess.Popen([sys.executable, "-c", _FOR_EVER, file.path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(changes):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    seeds = [int.from_bytes(key.secret, "big") for key in file.read()]
    assert seeds[0] >= changes
    assert seeds[-1] == int.from_bytes(FIRST.secret, "big")
    assert file.change(lambda keys: (SECOND, *keys))[1][0] == SECOND
    assert list(file.path.parent.iterdir()) == [file.path]
