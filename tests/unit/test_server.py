"""The processes, from start to end."""

import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest
import structlog

from treadle import server
from treadle.domain.errors import ConfigurationError
from treadle.factory import Parts
from treadle.scratch import scratch_directory
from treadle.settings import Settings


@pytest.mark.anyio
async def test_a_first_start_on_a_taken_port_makes_nothing(tmp_path: Path) -> None:
    """Else the admin's key would be made, and never shown."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings.load({}, data_dir=tmp_path / "data", port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="cannot be listened on"):
            await server.serve(settings, on_ready=lambda _address, _parts: None)
    assert not (tmp_path / "data").exists()


@pytest.mark.anyio
async def test_a_start_without_a_sandbox_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sandbox.bubblewrap._SEARCH_PATH", "/nonexistent")
    settings = Settings.load({}, data_dir=tmp_path / "data", port=0)
    with pytest.raises(ConfigurationError, match="bubblewrap is not installed") as refused:
        await server.serve(settings, on_ready=lambda _address, _parts: None)
    assert "TREADLE_SANDBOX=none" in str(refused.value.hint)
    assert not (tmp_path / "data").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("with_worker", [True, False])
async def test_none_is_warned_of_at_every_start(tmp_path: Path, with_worker: bool) -> None:
    """Where engines run; an API alone runs none."""

    def stop(_address: str, _parts: Parts) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    settings = Settings.load({"TREADLE_SANDBOX": "none"}, data_dir=tmp_path / "data", port=0)
    for _ in range(2):
        with structlog.testing.capture_logs() as said:
            await server.serve(settings, with_worker=with_worker, on_ready=stop)
        warnings = [each["event"] for each in said if each["log_level"] == "warning"]
        assert any("no sandbox" in each for each in warnings) is with_worker


@pytest.mark.anyio
async def test_an_api_alone_needs_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sandbox.bubblewrap._SEARCH_PATH", "/nonexistent")
    settings = Settings.load({}, data_dir=tmp_path / "data", port=0)
    started = []

    def stop(address: str, _parts: Parts) -> None:
        started.append(address)
        os.kill(os.getpid(), signal.SIGTERM)

    await server.serve(settings, with_worker=False, on_ready=stop)
    assert started


@pytest.mark.anyio
@pytest.mark.parametrize("with_worker", [True, False])
async def test_a_start_removes_what_killed_processes_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_worker: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_directory() as living:
        left = living.with_name(f"{living.name}-left")
        left.mkdir(mode=0o700)

        def stop(_address: str, _parts: Parts) -> None:
            assert living.is_dir()
            assert not left.exists()
            os.kill(os.getpid(), signal.SIGTERM)

        settings = Settings.load({"TREADLE_SANDBOX": "none"}, data_dir=tmp_path / "data", port=0)
        await server.serve(settings, with_worker=with_worker, on_ready=stop)
        assert not left.exists()
