"""Batches that schedules start."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.services.batches import Batches, BatchRequest
from treadle.services.schedule_targets import AT_A_TIME, Faults


class BatchStarter:
    """A batch, as `POST /batches` has it. `read` makes a request of what is kept."""

    def __init__(self, batches: Batches, read: Callable[[JsonObject], BatchRequest]) -> None:
        self._batches = batches
        self._read = read

    async def faults(self, principal: Principal, target: JsonObject) -> Faults:
        try:
            await self._batches.check(principal, self._wanted(target, AT_A_TIME))
        except InvalidInput as error:
            return error.faults
        return {}

    async def start(self, principal: Principal, target: JsonObject, *, uuid: UUID, variables: Mapping[str, str]) -> int:
        with suppress(NotFound):  # what would be refused by now is there already
            return (await self._batches.get(principal, uuid)).id
        return (await self._batches.start(principal, self._wanted(target, variables), uuid=uuid)).id

    async def is_over(self, organization_id: int, started: int) -> bool:
        return (await self._batches.seen(organization_id, started)).is_finished

    def _wanted(self, target: JsonObject, variables: Mapping[str, str]) -> BatchRequest:
        request = self._read(target)
        return replace(request, variables={**request.variables, **variables})
