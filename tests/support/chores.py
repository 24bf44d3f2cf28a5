"""Does chores as a process would, one after another."""

from tests.support.deployment import Deployment
from treadle.ports.chores import ChoreKind


async def work_off(here: Deployment, *kinds: ChoreKind, most: int = 100) -> int:
    """Whatever is due now, of all kinds or those; how many it were. What is due again at once is done again, up to
    `most`."""
    handlers = here.services.chores.handlers
    asked = frozenset(kinds or handlers)
    for count in range(most):
        chore = await here.store.claim_chore("worker", here.clock.now(), lease_seconds=30, kinds=asked)
        if chore is None:
            return count
        again = await handlers[chore.kind](chore)
        assert await here.store.end_chore(chore, again=again)
    return most
