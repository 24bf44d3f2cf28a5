"""The migrations make what `tables.py` says, on both databases."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError
from tests.support.postgres import PostgresServer

from treadle.domain.errors import ConfigurationError
from treadle.domain.identity import Role
from treadle.domain.run import EngineName
from treadle.domain.states import RUN_TERMINAL, STEP_TERMINAL, Phase, RunStatus, StepStatus
from treadle.store import schema
from treadle.store.address import sqlite_url
from treadle.store.automation_tables import EVERYTHING
from treadle.store.sql import SqlStore
from treadle.store.tables import either

SCRIPTS = Path(schema.__file__).parent / "migrations"

#: Each CHECK that lists values, and what it has to list.
LISTS: dict[str, Collection[StrEnum]] = {
    "memberships_role_check": set(Role),
    "runs_status_check": set(RunStatus),
    "runs_engine_check": set(EngineName),
    "runs_completed_check": set(RUN_TERMINAL),
    "steps_status_check": set(StepStatus),
    "steps_phase_check": set(Phase),
    "steps_completed_check": set(STEP_TERMINAL),
    "events_phase_check": set(Phase),
    "checkpoints_phase_check": set(Phase),
    "checkpoints_engine_check": set(EngineName),
}


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def pretend(url: str, revision: str, *, oldest: str) -> None:
    """As a newer version would leave it."""
    with connected(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        connection.execute(text("UPDATE schema_compatibility SET oldest = :oldest"), {"oldest": oldest})


def checks(connection: Connection) -> dict[str, str]:
    found = inspect(connection)
    return {
        str(check["name"]): check["sqltext"]
        for table in found.get_table_names()
        for check in found.get_check_constraints(table)
    }


def _texts(options: object) -> dict[str, str]:
    return {name: str(value) for name, value in options.items()} if isinstance(options, dict) else {}


def portrait(connection: Connection) -> dict[str, object]:
    """Everything the database itself says about its tables, in no order."""
    found = inspect(connection)
    return {
        table: {
            "columns": [
                (one["name"], str(one["type"]), one["nullable"], one["default"]) for one in found.get_columns(table)
            ],
            "key": found.get_pk_constraint(table),
            "unique": sorted(
                (str(one["name"]), tuple(one["column_names"])) for one in found.get_unique_constraints(table)
            ),
            "foreign": sorted(
                (
                    str(one["name"]),
                    tuple(one["constrained_columns"]),
                    one["referred_table"],
                    tuple(one["referred_columns"]),
                    str(one["options"]),
                )
                for one in found.get_foreign_keys(table)
            ),
            "checks": sorted((str(one["name"]), one["sqltext"]) for one in found.get_check_constraints(table)),
            "indexes": sorted(
                (str(one["name"]), tuple(one["column_names"]), bool(one["unique"]), _texts(one.get("dialect_options")))
                for one in found.get_indexes(table)
            ),
        }
        for table in found.get_table_names()
        if table != "alembic_version"
    }


def test_the_newest_revision_is_the_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.head()]


def test_an_upgrade_makes_what_the_tables_say(database_url: str) -> None:
    assert schema.current(database_url) is None
    assert schema.upgrade(database_url) is None
    assert schema.current(database_url) == schema.head()
    with connected(database_url) as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, EVERYTHING) == []


def test_sqlite_has_the_same_tables_by_either_way(tmp_path: Path) -> None:
    migrated, created = sqlite_url(tmp_path / "treadle.db"), f"sqlite:///{tmp_path / 'created.db'}"
    schema.upgrade(migrated)
    with connected(migrated) as one, connected(created) as other:
        EVERYTHING.create_all(other)
        assert portrait(one) == portrait(other)
        sql = "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name"
        assert one.execute(text(sql)).all() == other.execute(text(sql)).all()


@pytest.mark.postgres
def test_postgres_has_the_same_tables_by_either_way(postgres_server: PostgresServer) -> None:
    migrated, created = postgres_server.database(), postgres_server.database()
    schema.upgrade(migrated)
    with connected(migrated) as one, connected(created) as other:
        EVERYTHING.create_all(other)
        assert portrait(one) == portrait(other)


def test_the_checks_list_what_the_domain_has(database_url: str) -> None:
    schema.upgrade(database_url)
    with connected(database_url) as connection:
        found = checks(connection)
    listing = {name: set(re.findall(r"'(\w+)'", said)) for name, said in found.items() if name in LISTS}
    assert listing == {name: {str(value) for value in values} for name, values in LISTS.items()}
    # and no other constraint lists values: each list is held to the domain above
    assert {name for name, said in found.items() if said.count("'") > 2} == set(LISTS)


def test_a_status_that_there_is_not_is_refused(database_url: str) -> None:
    schema.upgrade(database_url)
    insert = text("INSERT INTO memberships (organization_id, user_id, role) VALUES (1, 1, 'OWNER')")
    with pytest.raises(IntegrityError, match="memberships_role_check"), connected(database_url) as connection:
        connection.execute(insert)


def test_values_are_listed_in_their_own_order() -> None:
    assert either("status", RUN_TERMINAL) == "status = 'Success' OR status = 'Failed' OR status = 'Killed'"


def test_upgrading_again_changes_nothing(database_url: str) -> None:
    schema.upgrade(database_url)
    with connected(database_url) as connection:
        before = portrait(connection)
    assert schema.upgrade(database_url) == schema.head()
    with connected(database_url) as connection:
        assert portrait(connection) == before


def test_a_newer_schema_is_left_alone(database_url: str) -> None:
    schema.upgrade(database_url)
    pretend(database_url, "9999", oldest="9998")
    with pytest.raises(ConfigurationError, match="9999, which is newer"):
        schema.upgrade(database_url)
    with pytest.raises(ConfigurationError, match="schema 9999"):
        schema.require(database_url)
    assert schema.current(database_url) == "9999"


@pytest.mark.anyio
@pytest.mark.parametrize("oldest", ["0001", schema.HEAD])
async def test_a_newer_schema_that_allows_this_version_is_worked_on(database_url: str, oldest: str) -> None:
    schema.upgrade(database_url)
    pretend(database_url, "9999", oldest=oldest)
    assert schema.upgrade(database_url) == "9999"
    for upgrade in (True, False):
        store = await SqlStore.open(database_url, upgrade=upgrade)
        await store.check()
        await store.close()
    assert schema.current(database_url) == "9999"


@pytest.mark.anyio
async def test_a_store_goes_on_while_a_newer_version_upgrades(database_url: str) -> None:
    store = await SqlStore.open(database_url)
    try:
        pretend(database_url, "9999", oldest=schema.HEAD)
        await store.check()
        pretend(database_url, "9999", oldest="9999")
        with pytest.raises(ConfigurationError, match="9999"):
            await store.check()
    finally:
        await store.close()


def test_an_older_schema_is_no_newer_one_that_allows_this_version(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.upgrade(database_url)
    monkeypatch.setattr(schema, "HEAD", "0007")  # the database says 0006, and that 0001 may work on it
    assert not schema.suits("0006", "0001")
    with pytest.raises(ConfigurationError, match="schema 0006"):
        schema.require(database_url)


def test_an_upgrade_that_fails_leaves_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_connection: Connection, _before: str | None) -> None:
        _connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise ConfigurationError("No more.")

    monkeypatch.setattr(schema, "_migrate", fail)
    with pytest.raises(ConfigurationError, match="No more"):
        schema.upgrade(database_url)
    monkeypatch.undo()
    with connected(database_url) as connection:
        assert inspect(connection).get_table_names() == []
    schema.upgrade(database_url)


@pytest.mark.anyio
async def test_a_store_may_be_told_not_to_upgrade(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="is empty") as caught:
        await SqlStore.open(database_url, upgrade=False)
    assert "treadle db upgrade" in (caught.value.hint or "")
    schema.upgrade(database_url)
    store = await SqlStore.open(database_url, upgrade=False)
    await store.check()
    await store.close()


@pytest.mark.anyio
async def test_a_store_notices_that_its_schema_changed(database_url: str) -> None:
    store = await SqlStore.open(database_url)
    try:
        pretend(database_url, "9999", oldest="9999")
        with pytest.raises(ConfigurationError, match="9999"):
            await store.check()
        with connected(database_url) as connection:
            connection.execute(text("DROP TABLE alembic_version"))
        with pytest.raises(ConfigurationError):
            await store.check()
    finally:
        await store.close()
