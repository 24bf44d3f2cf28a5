"""Who pays for a claimed run's model time: its credential, its bill, its budget."""

import asyncio

import structlog

from treadle import telemetry
from treadle.domain.credentials import EngineCredential
from treadle.domain.errors import BudgetExceeded, LeaseLost
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.run import EngineName, Usage
from treadle.domain.states import Phase
from treadle.ports import StepUpdate
from treadle.ports.gateway import ModelAnswer
from treadle.services.budgets import BudgetPassed, RunBudget
from treadle.services.progress import Progress
from treadle.services.secrets import RunSecrets

log = structlog.get_logger(__name__)


class RunAccount:
    """ports.gateway.Account for one claimed run. What is charged goes to the step and phase that `bill_to` named
    last."""

    def __init__(self, engine: EngineName, secrets: RunSecrets, progress: Progress, budget: RunBudget) -> None:
        self._engine = engine
        self._secrets = secrets
        self._progress = progress
        self._budget = budget
        self._step: int | None = None
        self._phase: Phase | None = None
        self._charged = Usage()
        self._passed: asyncio.Future[BudgetPassed] = asyncio.get_running_loop().create_future()

    def bill_to(self, step: int, phase: Phase) -> None:
        """From now on; `taken` begins at nothing."""
        self._step, self._phase, self._charged = step, phase, Usage()

    @property
    def charged(self) -> Usage:
        """Since `bill_to`: recorded already."""
        return self._charged

    async def credential(self) -> EngineCredential:
        return await self._secrets.credential()

    async def renewed(self, used: EngineCredential, new: EngineCredential) -> None:
        await self._secrets.renewed(used, new)

    async def permit(self, under_way_usd: float = 0.0) -> bool:
        if not self._passed.done():
            await self._end(await self._budget.used_up())
        self._raise_if_passed()
        return under_way_usd == 0 or await self._budget.has_room(under_way_usd)

    async def charge(self, answer: ModelAnswer) -> None:
        usage = Usage(answer.tokens.all_input, answer.tokens.output, answer.cost_usd)
        self._charged += usage
        note_cost(self._engine, usage)
        self._budget.add(usage)
        step = StepUpdate(self._step, usage=usage) if self._step is not None else None
        try:
            await self._progress.record(self._answered(answer), step=step)
        except LeaseLost:  # the run is another worker's, and the pulse ends this one
            log.warning("a model's answer could not be put on the bill: the lease is lost", cost_usd=usage.cost_usd)
            return
        await self._end(await self._budget.verdict())

    async def settle(self, usage: Usage) -> None:
        """What an engine without a gateway says that it has used; it is recorded elsewhere. Raises BudgetExceeded."""
        self._budget.add(usage)
        await self._end(await self._budget.verdict())
        self._raise_if_passed()

    async def passed(self) -> BudgetPassed:
        """Returns once the budget is passed; else never."""
        return await asyncio.shield(self._passed)

    def _raise_if_passed(self) -> None:
        if self._passed.done():
            raise BudgetExceeded(self._passed.result().sentence)

    async def _end(self, verdict: BudgetPassed | None) -> None:
        """Whoever waits for `passed` ends the run, and may cancel this then: the event is on its way by that time."""
        if verdict is None or self._passed.done():
            return
        is_told = await self._budget.is_told(verdict)
        if self._passed.done():  # by another answer, meanwhile
            return
        self._passed.set_result(verdict)
        if is_told:
            return
        said: JsonObject = {"of": verdict.of, "limitUsd": verdict.limit_usd, "spentUsd": round(verdict.spent_usd, 6)}
        try:
            await self._progress.record(Draft(EventType.BUDGET_PASSED, said, self._step, self._phase))
        except LeaseLost:
            log.warning("a passed budget could not be told: the lease is lost")

    def _answered(self, answer: ModelAnswer) -> Draft:
        tokens = answer.tokens
        data: JsonObject = {
            "model": answer.model,
            "inputTokens": tokens.input,
            "outputTokens": tokens.output,
            "cacheReadTokens": tokens.cache_read,
            "cacheWriteTokens": tokens.cache_write,
            "hourWriteTokens": tokens.hour_write,
            "toolRequests": tokens.tool_requests,
            "costUsd": answer.cost_usd,
            "status": answer.status,
            "isEstimated": answer.is_estimated,
            "durationMs": answer.duration_ms,
        }
        return Draft(EventType.MODEL_ANSWERED, data, self._step, self._phase)


def note_cost(engine: EngineName, cost: Usage) -> None:
    """For the metrics."""
    telemetry.count(telemetry.TOKENS, cost.input_tokens, engine=engine, direction="input")
    telemetry.count(telemetry.TOKENS, cost.output_tokens, engine=engine, direction="output")
    telemetry.count(telemetry.COST, cost.cost_usd, engine=engine)
