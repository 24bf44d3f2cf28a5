"""Statements: written in SQLAlchemy Core, compiled once for each database, run by the driver itself. Going through
SQLAlchemy at each execution costs more than the whole of SQLite's work for it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Insert, Select, Table, and_, any_, bindparam, func, insert, literal_column
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import NullType

from treadle.domain.states import RunStatus, StepStatus

#: A row as the driver gives it, read by position. Its values are checked by nobody: `*_of` functions give them types.
Row: TypeAlias = tuple[Any, ...]


class Prepared:
    """One statement. Every named parameter is given at each execution, but for constants that SQLAlchemy took out."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement

    @cached_property
    def sqlite(self) -> tuple[str, Callable[[Mapping[str, object]], Sequence[object]]]:
        """The text, and what puts named values into the order of its question marks."""
        compiled = self._compile(SQLiteDialect_pysqlite())
        return compiled.string, _arranger(compiled.positiontup or (), _constants(compiled))

    @cached_property
    def postgres(self) -> tuple[bytes, Mapping[str, object]]:
        """The text, and the constants to lay the named values over."""
        compiled = self._compile(PGDialect_psycopg())  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
        return compiled.string.encode(), _constants(compiled)

    def _compile(self, dialect: Dialect) -> SQLCompiler:
        compiled = self._statement.compile(dialect=dialect)
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(f"{self._statement!r} is no query.")
        return compiled


def _constants(compiled: SQLCompiler) -> dict[str, object]:
    return {name: bind.value for bind, name in compiled.bind_names.items() if bind.value is not None}


def _arranger(
    names: Sequence[str], constants: Mapping[str, object]
) -> Callable[[Mapping[str, object]], Sequence[object]]:
    if constants:
        return lambda values: [values[name] if name in values else constants[name] for name in names]
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]


def constant(value: RunStatus | StepStatus) -> ColumnElement[str]:
    """In the text of the statement, not a parameter: a partial index is found by it."""
    return literal_column(f"'{value}'")


def among(column: ColumnElement[str], values: Collection[RunStatus | StepStatus]) -> ColumnElement[bool]:
    """`column IN ('A', 'B')`, as constants. One value is written with `=`, or SQLite does not see a partial index."""
    first, *others = [constant(value) for value in sorted(values)]
    return column.in_([first, *others]) if others else column == first


class only(ColumnElement[Any]):  # noqa: N801 - read as a function, like SQLAlchemy's own constructs
    """`column = value`, written for PostgreSQL as a range. To go with an ORDER BY that begins with `column`: then the
    rows come in the order of an index that begins with it, and of no other. Of an equality PostgreSQL knows that such
    an order means nothing; ordered by what is left, it may read whatever another index has until it meets one that
    fits."""

    inherit_cache = True
    type = NullType()  # else SQLite gets an `= 1` behind it

    def __init__(self, column: ColumnElement[Any], value: ColumnElement[Any]) -> None:
        self.same = column == value
        self.range = and_(column >= value, column <= value)


@compiles(only, "sqlite")
def _as_equality(element: only, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.same, **options)


@compiles(only, "postgresql")
def _as_range(element: only, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.range, **options)


class in_portion(ColumnElement[Any]):  # noqa: N801 - as `only`
    """`column IN (portion)`, of a subselect with a LIMIT; PostgreSQL gets the portion as an array, which it makes once.
    Else it may make a join of it, and look for a portion anew at each row: with FOR UPDATE, which passes over what this
    very statement has removed, then more goes than the LIMIT says."""

    inherit_cache = True
    type = NullType()  # as `only`

    def __init__(self, column: ColumnElement[Any], portion: Select[Any]) -> None:
        self.subselect = column.in_(portion)
        self.array = column == any_(func.array(portion.scalar_subquery()))


@compiles(in_portion, "sqlite")
def _as_subselect(element: in_portion, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.subselect, **options)


@compiles(in_portion, "postgresql")
def _as_array(element: in_portion, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.array, **options)


def insert_into(table: Table, *names: str, **constants: ColumnElement[Any]) -> Insert:
    """A row with parameters called as the columns: all but its own id, or those named, beside `constants`."""
    chosen = names or [column.name for column in table.columns if column.identity is None]
    given: dict[str, ColumnElement[Any]] = {name: bindparam(name, type_=table.c[name].type) for name in chosen}
    return insert(table).values(given | constants)


def put_into(table: Table) -> Prepared:
    """Adds a whole row, or replaces the one with its primary key."""
    # PostgreSQL's form: SQLite's dialect writes the same ON CONFLICT.
    put = insert_or(table).values({column.name: bindparam(column.name, type_=column.type) for column in table.columns})
    rest = {column.name: put.excluded[column.name] for column in table.columns if not column.primary_key}
    return Prepared(put.on_conflict_do_update(index_elements=[*table.primary_key], set_=rest))
