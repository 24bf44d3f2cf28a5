"""The engines. A new one is one file and one line here."""

from collections.abc import Callable, Mapping

from treadle.domain.run import EngineName
from treadle.engines.claude import ClaudeEngine
from treadle.engines.dummy import DummyEngine
from treadle.engines.kimi import KimiEngine
from treadle.engines.location import find_claude, find_kimi
from treadle.ports import Engine
from treadle.settings import Settings

#: What makes each engine; None where its CLI is not installed.
ENGINES: Mapping[EngineName, Callable[[Settings], Engine | None]] = {
    EngineName.CLAUDE: lambda at: ClaudeEngine(cli, at.engine_path) if (cli := find_claude(at)) else None,
    EngineName.KIMI: lambda at: KimiEngine(cli, at.engine_path, at.kimi_model) if (cli := find_kimi(at)) else None,
    EngineName.DUMMY: lambda at: DummyEngine.here(at.engine_path),
}


def build(settings: Settings) -> Mapping[EngineName, Engine]:
    """The engines whose CLIs are installed."""
    made = ((name, make(settings)) for name, make in ENGINES.items())
    return {name: engine for name, engine in made if engine is not None}
