"""Kimi Code: what to run for a phase, and where its conversation is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.domain.errors import EngineRefused
from treadle.domain.run import EngineName
from treadle.engines import structured
from treadle.engines.kimi_reader import KimiReader
from treadle.engines.search_path import SEARCH_PATH
from treadle.ports import EngineCall, Invocation, Layout

VENDOR_ENDPOINT = "https://api.moonshot.ai/v1"
DEFAULT_MODEL = "kimi-k2-turbo-preview"

_PROMPT = "prompt.md"
#: The prompt is an argument, and Linux takes none longer than 128 KiB; a longer one is left in a file to be read.
_MAX_ARGUMENT_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class KimiEngine:
    """The Kimi CLI. `cli` begins its command line: a Node.js and `main.mjs`, or an executable. `search_path`: the PATH
    of the CLI and of the agent's tools. `default_model` is for calls that name none: the CLI has no default."""

    cli: tuple[str, ...]
    search_path: str = SEARCH_PATH
    default_model: str = DEFAULT_MODEL
    name = EngineName.KIMI

    def command(self, call: EngineCall) -> Invocation:
        """The key, a token of the run, is in the environment, where the agent's tools see it: the CLI takes it from
        nowhere better. Raises
        EngineRefused without a key."""
        if call.credential.api_key is None:
            raise EngineRefused("Kimi needs an API key; a Claude license does not open it.")
        prompt = f"{call.prompt}\n\n{structured.INSTRUCTION}" if call.is_structured else call.prompt
        files: dict[str, bytes] = {}
        if len(prompt.encode()) > _MAX_ARGUMENT_BYTES:
            files[_PROMPT] = prompt.encode()
            prompt = f"Read the file {call.layout.config / _PROMPT} to its end and do what it says."
        argv = (*self.cli, f"--prompt={prompt}", "--output-format", "stream-json")
        environment = {
            "PATH": self.search_path,
            "HOME": str(call.layout.home),
            "LANG": "C.UTF-8",
            "USER": "treadle",
            "KIMI_CODE_HOME": str(call.layout.config),
            "KIMI_CODE_NO_AUTO_UPDATE": "1",
            "KIMI_DISABLE_TELEMETRY": "1",
            "KIMI_LOOP_MAX_ATTEMPTS_PER_STEP": "1",  # the runner retries, and knows when not to
            "KIMI_MODEL_API_KEY": call.credential.api_key,
            "KIMI_MODEL_BASE_URL": call.endpoint or VENDOR_ENDPOINT,
            "KIMI_MODEL_NAME": call.model or self.default_model,
        }
        if call.session is not None:
            argv = (*argv, f"--session={call.session}")
        readable = tuple(_shown(Path(program)) for program in self.cli)
        return Invocation(argv=argv, environment=environment, files=files, readable=readable)

    def reader(self, call: EngineCall) -> KimiReader:
        return KimiReader(
            is_structured=call.is_structured, session=call.session, model=call.model or self.default_model
        )

    def session_files(self, layout: Layout, session: str) -> Sequence[str]:  # noqa: ARG002 - the folder's name is a hash
        return (f"sessions/*/{session}/**/*",)


def _shown(program: Path) -> Path:
    """What a sandbox must show for a program to work: a script of a package needs the packages around it."""
    if "node_modules" not in program.parts:
        return program
    return Path(*program.parts[: program.parts.index("node_modules") + 1])
