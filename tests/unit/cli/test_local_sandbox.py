"""A run here and now uses what works: it is the user's own repository, on the user's own machine."""

from pathlib import Path

import pytest

from treadle.cli.local import bring_database, run_directory, service, settings_for_one_run
from treadle.domain.errors import ConfigurationError

pytestmark = pytest.mark.anyio


async def start(root: Path, **environment: str) -> None:
    with run_directory(root) as directory:
        settings = settings_for_one_run({"PATH": "/usr/bin", **environment}, directory, data_dir=root)
        await bring_database(settings, root, directory)
        async with service(settings, directory):
            pass


async def test_without_a_sandbox_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("treadle.sandbox.bubblewrap._SEARCH_PATH", "/nonexistent")
    await start(tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if "sandbox" in line and line.startswith("Warning")]
    assert len(said) == 1
    assert "bubblewrap is not installed" in said[0]


@pytest.mark.bubblewrap
async def test_with_one_it_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await start(tmp_path)
    assert "Warning" not in capsys.readouterr().err


async def test_one_that_is_asked_for_is_not_gone_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sandbox.bubblewrap._SEARCH_PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match="bubblewrap is not installed"):
        await start(tmp_path, TREADLE_SANDBOX="bubblewrap")
