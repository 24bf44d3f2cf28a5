"""The journal of a script's calls in a file."""

import json
import multiprocessing
from pathlib import Path

import pytest

from treadle.cli.script_journal import kept
from treadle.domain.errors import ConfigurationError
from treadle.ports.scripting import Answer

FIRST = Answer(1, "files.list", "digest", [{"id": "1"}])
SECOND = Answer(2, "files.get", "digest", None)


def test_what_was_answered_and_printed_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with kept(path) as journal:
        identifier = journal.id
        journal.answer(FIRST)
        journal.print(3)
    with kept(path) as journal:
        assert (journal.id, journal.answers, journal.printed) == (identifier, [FIRST], 3)
        journal.answer(SECOND)
    with kept(path) as journal:
        assert journal.answers == [FIRST, SECOND]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_is_not_whole_is_dropped_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with kept(path) as journal:
        journal.answer(FIRST)
    with path.open("ab") as file:
        file.write(b'{"call": 2, "name": "fi')
    with kept(path) as journal:
        assert journal.answers == [FIRST]
        journal.answer(SECOND)
    assert [json.loads(line).get("call") for line in path.read_text().splitlines()] == [None, 1, 2]


@pytest.mark.parametrize("content", [b"x", b"x\n", b"{}\n", b'{"journal": 1}\n', b'{"journal": "a"}\n{"b": 1}\n'])
def test_another_file_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is no journal"), kept(path):
        pass
    assert path.read_bytes() == content


def test_two_commands_do_not_share_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with kept(path), multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_is_refused, (path,))
    assert not _is_refused(path)


def _is_refused(path: Path) -> bool:
    try:
        with kept(path):
            return False
    except ConfigurationError as error:
        return "is in use" in error.message
