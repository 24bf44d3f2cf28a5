"""Executors around a store's own, to test what cannot be had otherwise: a server's clock that a test sets, answers that
are lost with the connection, and a database that does not answer.

    world.store._executor = LostAnswers(world.store._executor, is_done=True)
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from treadle.domain.errors import Unavailable
from treadle.store.session import Executor, Session
from treadle.store.values import micros

T = TypeVar("T")


class _Undone(Exception):
    pass


class _Around:
    def __init__(self, inner: Executor) -> None:
        self.inner = inner

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:
        return await self.inner.write(work, again=again)

    async def read(self, work: Callable[[Session], T]) -> T:
        return await self.inner.read(work)

    async def glance(self, work: Callable[[Session], T]) -> T:
        return await self.inner.glance(work)

    async def close(self) -> None:
        await self.inner.close()


class LostAnswers(_Around):
    """Nobody knows of any write whether it was committed; `is_done` says whether it was."""

    def __init__(self, inner: Executor, *, is_done: bool) -> None:
        super().__init__(inner)
        self.is_done = is_done

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:
        def undone(session: Session) -> None:
            work(session)
            raise _Undone

        if self.is_done:
            await self.inner.write(work)
        else:
            with suppress(_Undone):
                await self.inner.write(undone)
        if again is None:
            raise Unavailable("The connection broke while a change was saved.")
        return await self.inner.write(again)


class SetClock(_Around):
    """The server's clock stands still at `now`, which a test sets. Where there is no server it changes nothing."""

    def __init__(self, inner: Executor, now: datetime) -> None:
        super().__init__(inner)
        self.now = now

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:
        def timed(session: Session) -> T:
            return work(self._set(session))

        def timed_again(session: Session) -> T:
            assert again is not None
            return again(self._set(session))

        return await self.inner.write(timed, again=None if again is None else timed_again)

    def _set(self, session: Session) -> Session:
        if session.time() is not None:
            now = micros(self.now)
            session.time = lambda: now  # type: ignore[method-assign]  # a session is made for each transaction
        return session


class Away(_Around):
    """The database does not answer to any write."""

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:  # noqa: ARG002 - nothing is done
        raise Unavailable("The database does not answer.")
