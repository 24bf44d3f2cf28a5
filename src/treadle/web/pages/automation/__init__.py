"""/automation: what starts runs without a person at the page, each kind at an address below."""

from collections.abc import Sequence

from starlette.routing import Route

from treadle.web.pages.automation import (
    batch,
    batches,
    overview,
    schedules,
    script_changes,
    script_runs,
    scripts,
    triggers,
    webhooks,
)
from treadle.web.site import Site


def routes(site: Site) -> Sequence[Route]:
    return [
        *overview.routes(site),
        *batches.routes(site),
        *batch.routes(site),
        *schedules.routes(site),
        *triggers.routes(site),
        *webhooks.routes(site),
        *scripts.routes(site),
        *script_changes.routes(site),
        *script_runs.routes(site),
    ]
