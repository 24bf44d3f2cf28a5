"""Kimi Code: what to run for a phase, and where its conversation is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from treadle.domain.credentials import EngineCredential
from treadle.domain.errors import EngineRefused
from treadle.domain.run import EngineName, Usage
from treadle.engines import structured
from treadle.engines.kimi_reader import KimiReader
from treadle.engines.lines import MAX_NUMBER, as_count, as_object, decode
from treadle.engines.search_path import SEARCH_PATH
from treadle.ports import EngineCall, Invocation, Layout

VENDOR_ENDPOINT = "https://api.moonshot.ai/v1"
DEFAULT_MODEL = "kimi-k2-turbo-preview"

_PROMPT = "prompt.md"
#: The prompt is an argument, and Linux takes none longer than 128 KiB; a longer one is left in a file to be read.
_MAX_ARGUMENT_BYTES = 100_000

#: What each agent of each conversation did, and what each of its calls of the model used; lines are only ever added.
_WIRES = "sessions/*/*/agents/*/wire.jsonl"
_RECORD = b'"usage.record"'
#: The agent can write there too, whatever it likes: no longer line is read as a record, and no more of them in a file.
_MAX_RECORD_BYTES = 4096
_MAX_RECORDS = 50_000
_INPUT = ("inputOther", "inputCacheRead", "inputCacheCreation")


@dataclass(frozen=True, slots=True)
class KimiEngine:
    """The Kimi CLI. `cli` begins its command line: a Node.js and `main.mjs`, or an executable. `search_path`: the PATH
    of the CLI and of the agent's tools. `default_model` is for calls that name none: the CLI has no default."""

    cli: tuple[str, ...]
    search_path: str = SEARCH_PATH
    default_model: str = DEFAULT_MODEL
    name = EngineName.KIMI

    def command(self, call: EngineCall) -> Invocation:
        """The key is in the environment, where the agent's tools see it: the CLI takes it from nowhere better. Raises
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

    def refreshed(
        self,
        credential: EngineCredential,  # noqa: ARG002 - a key does not change
        config_files: Callable[[str], bytes | None],  # noqa: ARG002 - nothing is renewed
    ) -> EngineCredential | None:
        return None

    def spent(self, since: datetime, config_files: Callable[[str], Iterable[bytes]]) -> Usage:
        """The tokens of every agent's calls, subagents' and failed conversations' too. What they cost in dollars is
        nowhere said."""
        moment = since.timestamp() * 1000
        read = written = 0
        for wire in config_files(_WIRES):
            for line in islice(_lines_of_usage(wire), _MAX_RECORDS):
                record = decode(line) or {}
                if record.get("type") != "usage.record" or as_count(record.get("time")) < moment:
                    continue
                usage = as_object(record.get("usage"))
                read += sum(as_count(usage.get(kind)) for kind in _INPUT)
                written += as_count(usage.get("output"))
        return Usage(input_tokens=min(read, MAX_NUMBER), output_tokens=min(written, MAX_NUMBER))


def _lines_of_usage(wire: bytes) -> Iterator[bytes]:
    """Lines that may be records of usage; of one that is too long for that, a piece."""
    at = wire.find(_RECORD)
    while at >= 0:
        earliest = max(0, at - _MAX_RECORD_BYTES)
        start = max(wire.rfind(b"\n", earliest, at) + 1, earliest)
        end = wire.find(b"\n", at, at + _MAX_RECORD_BYTES)
        end = end if end >= 0 else min(at + _MAX_RECORD_BYTES, len(wire))
        yield wire[start:end]
        at = wire.find(_RECORD, end)


def _shown(program: Path) -> Path:
    """What a sandbox must show for a program to work: a script of a package needs the packages around it."""
    if "node_modules" not in program.parts:
        return program
    return Path(*program.parts[: program.parts.index("node_modules") + 1])
