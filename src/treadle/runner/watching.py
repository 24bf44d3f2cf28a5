"""A command that runs while its limits are watched."""

import asyncio
from collections.abc import Coroutine
from typing import Protocol, TypeVar

from treadle.domain.errors import BudgetExceeded, LimitExceeded
from treadle.ports import Enclosed
from treadle.services.budgets import BudgetPassed

T = TypeVar("T")


class Purse(Protocol):
    """Of a run's account, what is needed here."""

    async def passed(self) -> BudgetPassed:
        """Returns once the budget is passed; else never."""


async def within_limits(work: Coroutine[object, object, T], enclosed: Enclosed, purse: Purse | None = None) -> T:
    """What `work` gives, which follows the command to its end. It is cancelled, and has ended the command before this
    raises LimitExceeded or BudgetExceeded."""
    working = asyncio.ensure_future(work)
    breached = asyncio.ensure_future(enclosed.breached())
    passed = asyncio.ensure_future(purse.passed()) if purse is not None else None
    watched = {working, breached, *((passed,) if passed is not None else ())}
    try:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if passed is not None and passed.done():
            raise BudgetExceeded(passed.result().sentence)
        if not working.done():
            raise LimitExceeded(breached.result())
        return working.result()
    finally:
        for task in watched:
            task.cancel()
        await asyncio.gather(*watched, return_exceptions=True)
