"""What PostgreSQL's errors mean to an operator, and which of them may pass."""

import psycopg

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.store.session import Dangling, Taken


class CommitUnknownError(Exception):
    """The connection broke at the commit."""


class NoConnectionError(Exception):
    """None could be made; the message says why."""


#: Sentence and hint. The first that fits.
_PASSING: tuple[tuple[type[Exception], tuple[str, str | None]], ...] = (
    (CommitUnknownError, ("The connection broke while a change was saved.", "It may be there or not: look again.")),
    (psycopg.errors.DiskFull, ("Its disk is full.", "Free some space; nothing that was answered is lost.")),
    (psycopg.errors.LockNotAvailable, ("Something has kept a row locked for too long.", None)),
    (psycopg.errors.QueryCanceled, ("A query took too long.", None)),
    # A server that was the primary, or is about to be it: a run must not fail of a failover.
    (psycopg.errors.ReadOnlySqlTransaction, ("It is read-only.", "If that does not pass, name the primary server.")),
    (psycopg.errors.TooManyConnections, ("It has too many connections.", "See TREADLE_DATABASE_CONNECTIONS.")),
)
_LASTING: tuple[tuple[type[Exception], tuple[str, str | None]], ...] = (
    (psycopg.errors.UndefinedTable, ("It has no schema.", "`treadle db upgrade` makes it.")),
)

#: What a server, or libpq, says of a connection that no waiting will bring: these have no SQLSTATE. In another language
#: it is taken for trouble that may pass, and said all the same.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied for database",
    "is not permitted to log in",
    "certificate verify failed",
    "server does not support SSL",
    "invalid connection option",
)


def reason(error: Exception, name: str) -> Exception:
    """What whoever waits is told: Taken, Dangling, Unavailable or ConfigurationError; else the error itself. `name`:
    the database's, without a password."""
    if isinstance(error, psycopg.errors.UniqueViolation):
        return Taken(str(error))
    if isinstance(error, psycopg.errors.ForeignKeyViolation):
        return Dangling(str(error))
    for sentences, made in ((_PASSING, Unavailable), (_LASTING, ConfigurationError)):
        for kind, (sentence, hint) in sentences:
            if isinstance(error, kind):
                return made(f"The database {name} cannot be used. {sentence}", hint=hint)
    # A broken connection, a server that shuts down, a deadlock that came again and again.
    if isinstance(error, psycopg.OperationalError | NoConnectionError):
        return Unavailable(f"The database {name} does not answer: {_said(error)}")
    return error


def refusal(error: psycopg.Error, name: str) -> ConfigurationError:
    """Why there is no connection: Unavailable unless the server refuses whoever comes like this."""
    said = _said(error)
    if isinstance(error, psycopg.OperationalError) and not any(words in said for words in _REFUSALS):
        return Unavailable(f"The database {name} does not answer: {said}")
    return ConfigurationError(f"The database {name} cannot be used: {said}")


def may_be_repeated(error: Exception) -> bool:
    """Nothing was committed, and the next try may find it otherwise."""
    if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
        return True
    return is_broken(error)


def is_broken(error: Exception) -> bool:
    """Whether the connection is gone: there is no SQLSTATE then, or it is a shutdown's, or that of a session that was
    idle for too long."""
    return type(error) is psycopg.OperationalError or isinstance(
        error,
        psycopg.errors.AdminShutdown
        | psycopg.errors.CrashShutdown
        | psycopg.errors.CannotConnectNow
        | psycopg.errors.IdleInTransactionSessionTimeout,
    )


def _said(error: Exception) -> str:
    """In one line."""
    return " ".join(str(error).split()).removesuffix(".") + "."
