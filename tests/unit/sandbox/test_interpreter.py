"""Which Python runs our programs inside."""

import sys
from pathlib import Path

import pytest

from treadle.sandbox import relay
from treadle.sandbox.interpreter import find_interpreter


def given(monkeypatch: pytest.MonkeyPatch, program: Path, prefix: Path) -> None:
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(sys, "_base_executable", str(program))
    monkeypatch.setattr(sys, "base_prefix", str(prefix))


def test_the_system_s_needs_nothing_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch, tmp_path / "usr/bin/python3", tmp_path / "usr")
    found = find_interpreter([str(tmp_path / "usr")], "/nonexistent")
    assert (found.program, found.readable) == (str(tmp_path / "usr/bin/python3"), None)


def test_another_is_shown_with_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch, tmp_path / "home/python/bin/python3", tmp_path / "home/python")
    found = find_interpreter(["/usr"], "/nonexistent")
    assert found.readable == tmp_path / "home/python"
    assert found.is_own


def test_one_apart_from_its_library_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch, tmp_path / "here/python3", tmp_path / "there")
    system = tmp_path / "bin" / "python3"
    system.parent.mkdir()
    system.touch(mode=0o755)
    found = find_interpreter(["/usr"], str(system.parent))
    assert (found.program, found.readable, found.is_own) == (str(system), None, False)
    assert found.script(relay).suffix == ".py"  # its bytecode is another Python's
