"""/automation/scripts/N/changes: what is different between two versions of a script."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.web.door import Visit
from treadle.web.forms import Form
from treadle.web.pages.automation.names import GONE, users_of
from treadle.web.pages.automation.scripts import PATH, version_of
from treadle.web.site import Site
from treadle.web.tool_input import small_diff


def routes(site: Site) -> Sequence[Route]:
    return [Route(f"{PATH}/{{id:int}}/changes", site.door.page(_Page(site).show), methods=["GET"])]


@dataclass(frozen=True, slots=True)
class _Page:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?to=` a version, else the newest; `?from=` one, else the one before it that is kept."""
        scripts, query = self.site.services.scripts, request.query_params
        script = await scripts.get(visit.principal, request.path_params["id"])
        versions = await scripts.versions(visit.principal, script.id)
        new = await scripts.version(script, version_of(query.get("to", "")))
        before = next((each.version for each in versions if each.version < new.version), new.version)
        old = await scripts.version(script, version_of(query.get("from", "")) or before)
        # Not on the loop: lines that are all alike take their time.
        rows = await to_thread.run_sync(small_diff, old.source.removesuffix("\n"), new.source.removesuffix("\n"))
        return self.site.renderer.page(
            "automation_script_changes.html",
            replace(visit.view, path=f"{PATH}/{script.id}/changes"),
            done=None,
            trouble=None,
            script=script,
            old=old,
            new=new,
            rows=rows,
            form=Form("changes", {"from": str(old.version), "to": str(new.version)}),
            versions=[(str(each.version), f"Version {each.version}") for each in versions],
            users=await users_of(self.site, visit.principal),
            gone=GONE,
        )
