"""Where sealing keys come from, and what is said of a place that gives none."""

import base64
import itertools
import os
import sys
from pathlib import Path

import pytest

from treadle.domain.errors import ConfigurationError
from treadle.settings import Settings
from treadle.vault import CommandKeys, FileKeys, KeyFile, SealingKey, key_source, load_keys, sources

FIRST, SECOND = SealingKey(b"1" * 32), SealingKey(b"2" * 32)


def printing(text: str, then: str = "") -> str:
    return f"{sys.executable} -c \"print('{text}'){then}\""


def settings(tmp_path: Path, **given: str) -> Settings:
    return Settings.load({f"TREADLE_{name.upper()}": value for name, value in given.items()}, data_dir=tmp_path)


def test_a_command_prints_the_keys(tmp_path: Path) -> None:
    given = settings(tmp_path, secret_key_command=printing(f"{SECOND.text} {FIRST.text}"))
    assert load_keys(given) == (SECOND, FIRST)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "names",
    [
        ("secret_key", "secret_key_file"),
        ("secret_key", "secret_key_command"),
        ("secret_key_file", "secret_key_command"),
        ("secret_key", "secret_key_file", "secret_key_command"),
    ],
)
def test_of_several_places_none_is_chosen(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        key_source(settings(tmp_path, **dict.fromkeys(names, "/x")))
    assert all(f"TREADLE_{name.upper()} " in caught.value.message for name in names)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{sys.executable} -c 'import sys; print(\"hunter2\"); sys.exit(3)'", "exit code 3"),
        (f"{sys.executable} -c 'print(\"hunter2\")'", "does not hold base64"),
        (f"{sys.executable} -c 'print()'", "is empty"),
        (f"{sys.executable} -c 'print(\"hunter2\" * 20_000)'", "wrote more than"),
        ("no-such-program-anywhere hunter2", "gave no key"),
        ("'hunter2", "is no command"),
        (" ", "is no command"),
    ],
)
def test_a_command_that_gives_no_key_is_told_without_its_words(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_keys(settings(tmp_path, secret_key_command=line))
    assert "TREADLE_SECRET_KEY_COMMAND" in caught.value.message
    assert "hunter2" not in caught.value.sentence()


def test_a_command_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "COMMAND_SECONDS", 0.2)
    with pytest.raises(ConfigurationError, match="did not end within"):
        load_keys(settings(tmp_path, secret_key_command="sleep 600"))


def test_no_shell_reads_the_line(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with pytest.raises(ConfigurationError):
        load_keys(settings(tmp_path, secret_key_command=f"echo hunter2; touch {path}"))
    assert not path.exists()


def test_a_command_has_the_environment_but_treadles_own(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, base64; ours = [name for name in os.environ if name.startswith('TREADLE_')]; "
        "print(base64.b64encode((os.environ['STORE_ADDRESS'] + str(len(ours))).rjust(32).encode()).decode())"
    )
    monkeypatch.setenv("TREADLE_CLAUDE_API_KEY", "sk-secret")
    keys = CommandKeys(f'{sys.executable} -c "{code}"', {**os.environ, "STORE_ADDRESS": "store"}).load()
    assert keys == (SealingKey(b"store0".rjust(32)),)


def test_a_command_is_asked_again_after_a_while() -> None:
    clock = itertools.count(0.0, sources.COMMAND_AGE_SECONDS / 2).__next__
    keys = CommandKeys("true", {}, clock=clock)
    assert [keys.may_differ() for _ in range(2)] == [False, True]
    assert not keys.may_differ()


@pytest.mark.anyio
async def test_keys_are_loaded_where_a_loop_runs(tmp_path: Path) -> None:
    assert load_keys(settings(tmp_path, secret_key_command=printing(FIRST.text))) == (FIRST,)


def test_a_file_may_differ_once_for_each_change(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(FIRST.text)
    path.chmod(0o600)
    keys = FileKeys(KeyFile(path))
    assert keys.load() == (FIRST,)
    assert not keys.may_differ()
    path.write_text("nonsense")
    assert [keys.may_differ() for _ in range(2)] == [True, False]
    path.unlink()
    assert not keys.may_differ()
    path.write_text(base64.urlsafe_b64encode(SECOND.secret).decode())
    path.chmod(0o600)
    assert keys.may_differ()
    assert keys.load() == (SECOND,)


def test_a_key_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    assert load_keys(settings(tmp_path, secret_key=f"{FIRST.text},{SECOND.text},{FIRST.text}")) == (FIRST, SECOND)
