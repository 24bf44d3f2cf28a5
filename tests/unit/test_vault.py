"""Sealing: what opens where, and how the key comes to be."""

import base64
import multiprocessing
import os
import stat
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from treadle.domain.errors import ConfigurationError, SealBroken, SealKeyMissing
from treadle.settings import Settings
from treadle.vault import KEY_FILE, AesGcmVault, SealingKey, load_keys

ORGANIZATION = UUID(int=1)
FIRST, SECOND = SealingKey(b"1" * 32), SealingKey(b"2" * 32)
VAULT = AesGcmVault([FIRST])

places = st.tuples(st.uuids(), st.text(max_size=8), st.text(max_size=8))


@given(clear=st.text(), place=places)
def test_what_was_sealed_opens_in_its_row(clear: str, place: tuple[UUID, str, str]) -> None:
    organization, table, row = place
    sealed = VAULT.seal(clear, organization=organization, table=table, row=row)
    assert VAULT.open(sealed, organization=organization, table=table, row=row) == clear


@given(clear=st.text(min_size=1), place=places, other=places)
def test_a_moved_row_does_not_open(clear: str, place: tuple[UUID, str, str], other: tuple[UUID, str, str]) -> None:
    assume(place != other)
    sealed = VAULT.seal(clear, organization=place[0], table=place[1], row=place[2])
    with pytest.raises(SealBroken):
        VAULT.open(sealed, organization=other[0], table=other[1], row=other[2])


@given(clear=st.text(max_size=20), data=st.data())
def test_a_changed_character_does_not_open(clear: str, data: st.DataObject) -> None:
    sealed = VAULT.seal(clear, organization=ORGANIZATION, table="t", row="r")
    at = data.draw(st.integers(0, len(sealed) - 1))
    changed = data.draw(st.sampled_from("Aa0+/=:é"))
    assume(sealed[at] != changed)
    with pytest.raises(SealBroken):
        VAULT.open(sealed[:at] + changed + sealed[at + 1 :], organization=ORGANIZATION, table="t", row="r")


@pytest.mark.parametrize("sealed", ["", "v1", "v1::", "v2:aa:bb", f"v1:{FIRST.id}:", f"v1:{FIRST.id}:AAAA"])
def test_nonsense_is_a_broken_seal(sealed: str) -> None:
    with pytest.raises(SealBroken):
        VAULT.open(sealed, organization=ORGANIZATION, table="t", row="r")


def test_neighbouring_names_are_not_confused() -> None:
    sealed = VAULT.seal("x", organization=ORGANIZATION, table="ab", row="c")
    with pytest.raises(SealBroken):
        VAULT.open(sealed, organization=ORGANIZATION, table="a", row="bc")


def test_the_format_is_the_documented_one_and_never_repeats() -> None:
    one, two = (VAULT.seal("same", organization=ORGANIZATION, table="t", row="r") for _ in range(2))
    version, key_id, body = one.split(":")
    assert (version, key_id) == ("v1", FIRST.id)
    assert len(base64.b64decode(body, validate=True)) == 12 + len("same") + 16
    assert one != two


def test_the_first_key_seals_and_every_key_opens() -> None:
    old = VAULT.seal("old", organization=ORGANIZATION, table="t", row="r")
    both = AesGcmVault([SECOND, FIRST])
    assert both.open(old, organization=ORGANIZATION, table="t", row="r") == "old"
    new = both.seal("new", organization=ORGANIZATION, table="t", row="r")
    with pytest.raises(SealBroken, match=SECOND.id):
        VAULT.open(new, organization=ORGANIZATION, table="t", row="r")


def test_no_key_shows_itself() -> None:
    assert "1111" not in repr(FIRST)
    assert "1111" not in FIRST.id


def test_the_setting_wins_over_the_files(tmp_path: Path) -> None:
    keys = [base64.b64encode(key.secret).decode() for key in (FIRST, SECOND)]
    settings = Settings.load({"TREADLE_SECRET_KEY": ",".join(keys)}, data_dir=tmp_path)
    assert load_keys(settings) == (FIRST, SECOND)
    assert not list(tmp_path.iterdir())


def test_a_url_safe_key_is_read_too(tmp_path: Path) -> None:
    key = SealingKey(b"\xff\xfe\xfb" * 10 + b"xy")
    settings = Settings.load({"TREADLE_SECRET_KEY": base64.urlsafe_b64encode(key.secret).decode()}, data_dir=tmp_path)
    assert load_keys(settings) == (key,)


@pytest.mark.parametrize("bad", ["not base64 at all", base64.b64encode(b"short").decode(), "QQ"])
def test_a_bad_key_is_named_but_not_shown(tmp_path: Path, bad: str) -> None:
    with pytest.raises(ConfigurationError, match="TREADLE_SECRET_KEY") as caught:
        load_keys(Settings.load({"TREADLE_SECRET_KEY": bad}, data_dir=tmp_path))
    assert bad not in caught.value.sentence()


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"nonsense"])
def test_a_bad_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="key"):
        load_keys(Settings.load({"TREADLE_SECRET_KEY_FILE": str(path)}, data_dir=tmp_path))


def test_a_named_key_file_is_never_made(tmp_path: Path) -> None:
    settings = Settings.load({"TREADLE_SECRET_KEY_FILE": str(tmp_path / "missing")}, data_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_keys(settings)
    assert not list(tmp_path.iterdir())


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings.load({}, data_dir=tmp_path / "new" / "data")
    with capture_logs() as lines:
        made = load_keys(settings)
        assert load_keys(settings) == made
    path = settings.data_dir / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(settings.data_dir.iterdir()) == [path]
    assert lines == []


def test_a_key_file_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    settings = Settings.load({}, data_dir=tmp_path)
    made = load_keys(settings)
    (tmp_path / KEY_FILE).chmod(0o644)
    with capture_logs() as lines:
        assert load_keys(settings) == made
    assert [(line["log_level"], line["mode"]) for line in lines] == [("warning", "0644")]


def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be made") as caught:
        load_keys(Settings.load({}, data_dir=tmp_path / "file" / "data"))
    assert "TREADLE_SECRET_KEY" in caught.value.sentence()


def _start_at_once(data_dir: Path, gate: Connection, answer: Connection) -> None:
    def random(count: int) -> bytes:
        answer.send("ready")  # every process has seen that there is no file yet
        gate.recv()
        return os.urandom(count)

    keys = load_keys(Settings.load({}, data_dir=data_dir), random=random)
    answer.send([key.id for key in keys])


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    pairs = [(context.Pipe(), context.Pipe()) for _ in range(3)]
    processes = [context.Process(target=_start_at_once, args=(tmp_path, gate[0], answer[1])) for gate, answer in pairs]
    for process in processes:
        process.start()
    try:
        for _, answer in pairs:
            assert answer[0].poll(120)
            assert answer[0].recv() == "ready"
        for gate, _ in pairs:
            gate[1].send("go")
        found = []
        for _, answer in pairs:
            assert answer[0].poll(120)
            found.append(answer[0].recv())
    finally:
        for process in processes:
            process.join(120)
    assert len({tuple(ids) for ids in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_process_with_another_key_is_told_so_before_it_opens_anything() -> None:
    one, other = (AesGcmVault([SealingKey(bytes([number]) * 32)]) for number in (1, 2))
    sealed = one.seal("secret", organization=uuid4(), table="secrets", row="row")
    one.check(sealed)
    with pytest.raises(SealKeyMissing, match="is not loaded here"):
        other.check(sealed)
