"""The rules that a run's prompts begin with: the organization's, the repository's, the user's."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import anyio

from treadle.domain.errors import NotFound
from treadle.domain.events import clip
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run
from treadle.runner import config_files
from treadle.runner.patience import PatientStore

#: What all the rule files of a repository may come to, in characters; the strongest are told first.
MAX_DETECTED = 25_000

#: Files at the root of a repository that hold rules for agents, the strongest first.
RULE_FILES = ("AGENTS.md", "AGENT.md", "CLAUDE.md", ".cursorrules", ".cursor/rules", ".clinerules", ".windsurfrules")
_FOLDER, _SUFFIX = ".cursor/rules", ".mdc"  # of that one, the files below it with that suffix

#: What a CLI reads by itself, so that no prompt has to say it: see `engines/claude.py`, which names them to it.
READ_BY_ENGINE = {EngineName.CLAUDE: frozenset({"AGENTS.md", "CLAUDE.md"})}

#: More rule files than this are not looked at.
MAX_RULE_FILES = 100

_LEAD = """Follow these rules in all that you do. Where two of them conflict, the later one wins: the user's before \
the repository's, and the repository's before the organization's."""

_CUT = "\n[… cut: {count} more characters]"


@dataclass(frozen=True, slots=True)
class _Part:
    title: str
    text: str


async def collect(
    store: PatientStore, run: Run, repository: Repository | None, work_tree: Path, engine: EngineName
) -> str:
    """What every prompt begins with; "" without any rules. `work_tree`: as it was checked out, nothing done in it yet;
    `engine`: the one that does the work. Detected files count without a registered repository, too."""
    organization = await store.organization(run.organization_id)
    try:
        user, _ = await store.member(run.organization_id, run.user_id)
        user_rules = user.rules
    except NotFound:  # no member any more: its run goes on
        user_rules = None
    parts = [_Part("Rules of the organization", _plain(organization.rules))]
    if repository is not None:
        parts.append(_Part("Rules of the repository", _plain(repository.rules)))
    if organization.is_rules_detection_enabled:
        parts += await anyio.to_thread.run_sync(_detected, work_tree, READ_BY_ENGINE.get(engine, frozenset()))
    parts.append(_Part("Rules of the user", _plain(user_rules)))
    said = [f"## {part.title}\n\n{part.text}" for part in parts if part.text]
    return "\n\n".join([_LEAD, *said]) if said else ""


def _plain(text: str | None) -> str:
    return (text or "").strip()


def _detected(root: Path, left_out: frozenset[str]) -> Sequence[_Part]:
    """The weakest first. The same text under another name is told once."""
    found: list[_Part] = []
    told: set[str] = set()
    room = MAX_DETECTED
    for path, text in _files(root):
        if text in told:
            continue
        told.add(text)
        if path in left_out or room <= 0:
            continue
        kept, cut = clip(text, room)
        room -= len(kept)
        found.append(
            _Part(
                f"Rules of the repository, in its file {_shown(path)}", kept + (_CUT.format(count=cut) if cut else "")
            )
        )
    return found[::-1]


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Plain files of text only: no link is followed, out of the repository or within it."""
    paths = (path for name in RULE_FILES for path in (_below(root) if name == _FOLDER else [name]))
    for path in islice(paths, MAX_RULE_FILES):
        text = _text(config_files.read_plain(root, path))
        if text:
            yield path, text


def _below(root: Path) -> Sequence[str]:
    """The last name first: as in a list that is read to its end, the later rule is the stronger one."""
    folder = root / _FOLDER
    if folder.is_symlink() or folder.parent.is_symlink():
        return []
    found = [Path(base, name) for base, _, names in os.walk(folder) for name in names if name.endswith(_SUFFIX)]
    return sorted((path.relative_to(root).as_posix() for path in found), reverse=True)


def _shown(path: str) -> str:
    """In one line that can be encoded: a repository may give its files any bytes for a name."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in path)


def _text(content: bytes | None) -> str:
    if content is None or b"\0" in content:
        return ""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        return ""
