"""The batch that a run is part of."""

from treadle.domain.batch import Batch, run_uuid
from treadle.domain.errors import NotFound
from treadle.domain.identity import Principal
from treadle.domain.run import Run
from treadle.web.site import Site


async def batch_of(site: Site, who: Principal, run: Run) -> Batch | None:
    """None where the caller may not see it. What a run says of itself is whatever its maker wrote: its UUID tells."""
    said = run.metadata or {}
    id_, position = said.get("batch"), said.get("position")
    if not isinstance(id_, int) or not isinstance(position, int) or not 0 < id_ < 1 << 31:
        return None
    try:
        batch = await site.services.batches.get(who, id_)
    except NotFound:
        return None
    tries = (run_uuid(batch.uuid, position, attempt) for attempt in range(batch.attempt, 0, -1))
    return batch if any(each == run.uuid for each in tries) else None
