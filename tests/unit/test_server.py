"""The processes, from start to end."""

import socket
from pathlib import Path

import pytest

from treadle import server
from treadle.domain.errors import ConfigurationError
from treadle.settings import Settings


@pytest.mark.anyio
async def test_a_first_start_on_a_taken_port_makes_nothing(tmp_path: Path) -> None:
    """Else the admin's key would be made, and never shown."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings.load({}, data_dir=tmp_path / "data", port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="cannot be listened on"):
            await server.serve(settings, on_ready=lambda _address, _parts: None)
    assert not (tmp_path / "data").exists()
