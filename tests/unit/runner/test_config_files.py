"""An agent may put links where the service reads and writes; none is followed."""

import os
from pathlib import Path

import pytest

from treadle.runner import config_files


def test_writes_with_private_mode_and_reads_back(tmp_path: Path) -> None:
    config_files.write_private(tmp_path, ".claude/credentials.json", b"secret")
    assert config_files.read_plain(tmp_path, ".claude/credentials.json") == b"secret"
    assert (tmp_path / ".claude/credentials.json").stat().st_mode & 0o777 == 0o600


def test_replaces_a_link_instead_of_writing_through_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    root = tmp_path / "config"
    root.mkdir()
    (root / "key").symlink_to(victim)
    config_files.write_private(root, "key", b"secret")
    assert victim.read_bytes() == b"untouched"
    assert config_files.read_plain(root, "key") == b"secret"


def test_refuses_a_linked_directory(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "config"
    root.mkdir()
    (root / ".claude").symlink_to(outside)
    with pytest.raises(OSError, match=r".claude|Not a directory|symbolic"):
        config_files.write_private(root, ".claude/key", b"secret")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", ["../victim", "a/../../victim"])
def test_refuses_to_leave_its_directory(tmp_path: Path, path: str) -> None:
    root = tmp_path / "config"
    (root / "a").mkdir(parents=True)
    with pytest.raises(OSError, match="not below"):
        config_files.write_private(root, path, b"secret")
    assert not (tmp_path / "victim").exists()


def test_reads_no_link_no_pipe_and_nothing_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    names = ("link", "pipe", "folder", "missing", "a/b")
    assert [config_files.read_plain(tmp_path, name) for name in names] == [None] * 5


def test_matches_plain_files_only(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions/one.jsonl").write_bytes(b"1")
    (tmp_path / "sessions/two.jsonl").symlink_to("one.jsonl")
    assert list(config_files.matching(tmp_path, "sessions/*.jsonl")) == ["sessions/one.jsonl"]
