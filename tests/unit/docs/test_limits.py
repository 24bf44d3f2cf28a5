"""Every limit is on its page, with the number that it has."""

import ast
import inspect
import re
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.unit.docs.pages import ROOT, codes, page, rows

from treadle.settings import Settings

SOURCE = ROOT / "src/treadle"
LIMITS = rows(page("reference/limits.md"))

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "min": 60, "h": 3600, "days": 86_400}

#: Names of constants that are limits.
LIMIT = re.compile(
    r"_?(?:MAX_\w+|(?:\w+_)?SECONDS|LONGEST\w*|LIFETIME|SKEW|\w+_SPAN|\w+_AGE|\w*TRIES|KEPT_(?:KEYS|DAYS)|\w+_BYTES)"
)

#: Constants that are called so and limit nothing that anybody can run into.
INNER = {
    "treadle.blobs.directory:_WRITE_BYTES",
    "treadle.blobs.keys:_MAX_SEGMENT",  # of keys that Treadle itself makes
    "treadle.blobs.s3:_PIECE_BYTES",
    "treadle.cli.agent_views:_MAX_COLUMNS",
    "treadle.cli.agents:_LOOK_SECONDS",
    "treadle.cli.blob_places:_REDRAW_SECONDS",
    "treadle.cli.block:REDRAW_SECONDS",
    "treadle.cli.checks:_GIT_SECONDS",
    "treadle.cli.demo:_SECONDS",
    "treadle.cli.live:_MAX_COLUMNS",
    "treadle.cli.local:_DRAIN_SECONDS",
    "treadle.cli.machine:_PORT_SECONDS",
    "treadle.command.pipes:_MAX_PIPE_BYTES",
    "treadle.command.pipes:_READ_BYTES",
    "treadle.domain.diff_contents:_HEADER_BYTES",  # of what Treadle itself writes
    "treadle.domain.patch:_BLOCK_BYTES",
    "treadle.domain.raw_diff:_BATCH_BYTES",
    "treadle.engines.dummy_cli:_BLOCK_BYTES",
    "treadle.joined_writes:MAX_WAITING",
    "treadle.gateway.line:_READ_BYTES",
    "treadle.sandbox.cgroups:_LEAVE_PAUSE_SECONDS",
    "treadle.sandbox.container_init:_CPU_CHECK_SECONDS",
    "treadle.sandbox.container_init:_INSTRUCTION_BYTES",
    "treadle.sandbox.container_init:_LENGTH_BYTES",
    "treadle.sandbox.container_pipes:_LENGTH_BYTES",
    "treadle.sandbox.container_pipes:_REPORT_BYTES",  # of what Treadle itself writes
    "treadle.sandbox.disk:_BLOCK_BYTES",
    "treadle.sandbox.mounts:_NOTHING_BYTES",  # of what is empty
    "treadle.sandbox.relay:_AGAIN_SECONDS",
    "treadle.sandbox.supervise:_REAP_SECONDS",
    "treadle.scripting.line:_ENVELOPE_BYTES",  # of what Treadle itself writes
    "treadle.scripting.talk:_READ_BYTES",
    "treadle.sdk._event_flows:_REOPEN_SECONDS",
    "treadle.services.passwords:_HASH_BYTES",
    "treadle.services.passwords:_SALT_BYTES",
    "treadle.services.sessions:_MAX_TOKEN",  # no token of ours comes near
    "treadle.services.guesses:_MAX_REMEMBERED",  # what is forgotten is counted in the store
    "treadle.services.sharing:_MAX_TOKEN",  # nor here
    "treadle.telemetry.instruments:_POLL_SECONDS",
    "treadle.web.pages.diff.index:_HEAD_BYTES",  # of what Treadle itself writes
    "treadle.web.pages.diff.index:_TAIL_BYTES",
    "treadle.web.pages.diff.lines:_HEADER_BYTES",
    "treadle.web.pages.diff.lines:_SHOWN_BYTES",  # what MAX_SHOWN_LINE may take as JSON
    "treadle.web.pages.diff.lines:_TAIL_BYTES",
    "treadle.web.pages.new_run.uploads:_BESIDE_BYTES",  # room for fields that have bounds of their own
    "treadle.web.pages.new_run.uploads:_CHUNK_BYTES",
    "treadle.web.pages.run.local:_MAX_ID",  # no database counts further
    "treadle.web.pages.run.page:_MAX_ID",
    "treadle.workspace.blobs:_LONGEST_HEAD",  # of what git itself writes
    "treadle.workspace.diff_files:_DIFF_CHUNK_BYTES",
    "treadle.workspace.diff_files:_LOOKED_AT_BYTES",  # how far git looks for a NUL
    "treadle.workspace.index_file:BACKDATED_SECONDS",
    "treadle.workspace.index_file:_SHA1_BYTES",
    "treadle.workspace.locks:POLL_SECONDS",
    "treadle.workspace.pruning:_BLOCK_BYTES",
    "treadle.workspace.refs:SHA1_BYTES",
    "treadle.workspace.refs:SHA256_BYTES",
}


def constants() -> list[str]:
    """`module:NAME` of each constant at the top of a module that is called like a limit."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        module = ".".join(["treadle", *(part for part in parts if part != "__init__")])
        found += [f"{module}:{name}" for name in _names(path) if LIMIT.fullmatch(name)]
    return [place for place in found if isinstance(value(place), int | float | timedelta)]


def _names(path: Path) -> list[str]:
    names = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            names += [
                one.id
                for one in (target.elts if isinstance(target, ast.Tuple) else [target])
                if isinstance(one, ast.Name)
            ]
    return names


def number(text: str) -> float:
    """`50 MiB` in bytes, `24 h` in seconds, `10,000 characters` in characters."""
    match = re.match(r"([\d,.]+)(?: (\w+))?", text)
    assert match is not None, text
    return float(match[1].rstrip(",").replace(",", "")) * UNITS.get(match[2], 1)


def value(place: str) -> object:
    """What is at `module:NAME` or `module:Name.method(parameter)`."""
    module, _, path = place.partition(":")
    dotted, _, parameter = path.rstrip(")").partition("(")
    found: Any = import_module(module)  # whatever is there
    for name in dotted.split("."):
        found = getattr(found, name)
    return inspect.signature(found).parameters[parameter].default if parameter else found


@pytest.mark.parametrize(
    ("said", "place"), [(row[1], row[2].strip("`")) for row in LIMITS], ids=[row[2] for row in LIMITS]
)
def test_the_number_is_the_one_in_its_place(said: str, place: str) -> None:
    if place.startswith("TREADLE_"):
        default = next(default for name, default, _ in Settings.table() if name == place)
        assert number(said) == float(default.split(",")[0])
        return
    found = value(place)
    found = timedelta(days=found) if place.endswith("_DAYS") and isinstance(found, int) else found
    assert number(said) == (found.total_seconds() if isinstance(found, timedelta) else found)


def test_no_limit_is_missing() -> None:
    listed = codes(page("reference/limits.md"))
    assert [name for name in constants() if name not in listed | INNER] == []


def test_no_exception_is_stale() -> None:
    assert INNER - set(constants()) == set()
