"""How full a worker's disk is, whatever a run has left of its directories."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from treadle.runner.leaving import _free_bytes


def test_a_tree_that_nobody_may_look_at_keeps_no_run_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a sandbox an agent may have shut its directories."""
    tree = tmp_path / "run" / "code"
    tree.mkdir(parents=True)

    def disk_usage(path: Path) -> SimpleNamespace:
        if path != tmp_path:
            raise PermissionError(path)
        return SimpleNamespace(free=7)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    assert _free_bytes(tree) == 7
    assert _free_bytes(tree / "gone") == 7
