"""Database URLs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.errors import ConfigurationError
from treadle.store.address import PostgresAddress, SqliteAddress, parse, sqlite_url


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1))
def test_any_path_has_a_url(name: str) -> None:
    path = Path("/data") / name / "treadle.db"
    assert parse(sqlite_url(path)) == SqliteAddress(path)


def test_a_sqlite_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("sqlite:///some/treadle.db?timeout=2.5") == SqliteAddress(tmp_path / "some/treadle.db", 2.5)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgres_is_psycopgs(scheme: str) -> None:
    address = parse(f"{scheme}://ada:lovelace@db.example.org:6543/treadle?sslmode=require")
    assert isinstance(address, PostgresAddress)
    assert address.url.drivername == "postgresql+psycopg"
    assert str(address) == "postgresql+psycopg://ada:***@db.example.org:6543/treadle?sslmode=require"


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://u:lovelace@h/d", "sqlite:///x?timeout=soon"]
)
def test_others_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(url)
    assert "lovelace" not in caught.value.sentence()


def test_a_password_is_shown_nowhere() -> None:
    """Libpq takes it as a parameter, too."""
    url = "postgresql://ada:canary@db.example.org/treadle?password=canary&sslpassword=canary&sslmode=require"
    assert str(parse(url)) == "postgresql+psycopg://ada:***@db.example.org/treadle?sslmode=require"
