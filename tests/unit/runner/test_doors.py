"""What an engine is told of its model, and of nothing else."""

from pathlib import Path

import pytest

from treadle.domain.credentials import EngineCredential
from treadle.domain.errors import EngineRefused
from treadle.engines.claude import ClaudeEngine
from treadle.engines.dummy import DummyEngine
from treadle.ports.gateway import ModelDoor
from treadle.ports.sandbox import Door
from treadle.runner.doors import Doors
from treadle.services.secrets import EngineChoice

KEY = "sk-ant-api03-canary-of-the-outside"

REAL = EngineChoice(ClaudeEngine(Path("/usr/bin/claude")), EngineCredential(api_key=KEY), "https://example.org")


def test_a_token_takes_the_keys_place() -> None:
    inside = Doors(model=ModelDoor(Door(8418, Path("/run/model")), "token")).stand_in(REAL)
    assert inside.credential == EngineCredential(api_key="token")
    assert inside.endpoint == "http://127.0.0.1:8418"


def test_without_a_gateway_no_key_goes_in() -> None:
    with pytest.raises(EngineRefused, match="network policy is 'none'"):
        Doors().stand_in(REAL)


def test_the_dummy_engine_needs_none() -> None:
    chosen = EngineChoice(DummyEngine.here(), EngineCredential())
    assert Doors().stand_in(chosen) is chosen
