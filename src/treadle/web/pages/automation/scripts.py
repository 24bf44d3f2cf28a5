"""/automation/scripts: scripts that are kept with their versions; checked, changed and started here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import Conflict, InvalidInput
from treadle.domain.events import JsonObject
from treadle.domain.permissions import Permission, require
from treadle.domain.script_runs import Script, ScriptRun
from treadle.services.scripts import AD_HOC
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, lines_of, number_of, refused, text_of
from treadle.web.pages.automation.names import GONE, users_of
from treadle.web.pages.automation.plan_fields import variables_of
from treadle.web.site import Site

PATH = "/automation/scripts"
RUNS = "/automation/script-runs"

#: Runs of a page.
ROWS = 50

#: Runs that a script's own page shows.
SHOWN_RUNS = 10

#: Of what the database numbers versions by.
_LAST_VERSION = 2**31 - 1

DONE = {
    "saved": "The script is saved.",
    "removed": "The script is removed from the list. Its runs go on, and stay.",
}

_FIELDS = {"name": "name", "description": "description", "source": "source"}
_BLANK = Form("script", {"source": 'print("Hello")\n'})


def routes(site: Site) -> Sequence[Route]:
    pages, page, one = _Pages(site), site.door.page, f"{PATH}/{{id:int}}"
    return [
        Route(PATH, page(pages.show), methods=["GET"]),
        Route(PATH, page(pages.save), methods=["POST"]),
        Route(f"{PATH}/new", page(pages.new), methods=["GET"]),
        Route(one, page(pages.one), methods=["GET"]),
        Route(one, page(pages.change), methods=["POST"]),
        Route(f"{one}/start", page(pages.start), methods=["POST"]),
        Route(f"{one}/remove", page(pages.remove), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Forms:
    """What is being filled in; None: as it is. `verdict`: of a check, "" for nothing wrong."""

    source: Form | None = None
    start: Form = field(default_factory=lambda: Form("start"))
    verdict: str | None = None


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?before=` a run's id for older ones."""
        scripts, who = self.site.services.scripts, visit.principal
        before = number_of(request.query_params.get("before", ""))
        runs = await scripts.runs(who, limit=ROWS, before=before)
        return self.site.renderer.page(
            "automation_scripts.html",
            replace(visit.view, path=PATH),
            done=DONE.get(request.query_params.get("done", "")),
            trouble=None,
            scripts=await scripts.list(who),
            runs=runs,
            is_older=before is not None,
            older=runs[-1].id if len(runs) == ROWS else None,
            users=await users_of(self.site, who),
            gone=GONE,
        )

    async def new(self, _request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.RUN)
        return self._new(visit, _BLANK)

    async def save(self, request: Request, visit: Visit) -> Response:
        """A new one; or only what is wrong with it, where the other button was pressed."""
        form = await form_of(request)
        shown, source = filled("script", form), lines_of(form, "source")
        name, description = text_of(form, "name"), lines_of(form, "description").strip()
        if text_of(form, "action") == "check":
            return self._new(visit, shown, verdict=await self._verdict(visit, source, name))
        try:
            saved = await self.site.services.scripts.save(
                visit.principal, name, source, description or None, if_version=0
            )
        except (InvalidInput, Conflict) as error:
            return self._new(visit, refused(shown, error, _FIELDS), status=_status(error))
        return see_other(f"{PATH}/{saved.id}?done=saved")

    async def one(self, request: Request, visit: Visit) -> Response:
        """`?version=` an earlier one."""
        return await self._one(request, visit, done=DONE.get(request.query_params.get("done", "")))

    async def change(self, request: Request, visit: Visit) -> Response:
        """Another version of the one that the form was made from; or only what is wrong with it."""
        scripts, form = self.site.services.scripts, await form_of(request)
        script = await scripts.get(visit.principal, request.path_params["id"])
        shown, source = filled("script", form), lines_of(form, "source")
        if text_of(form, "action") == "check":
            verdict = await self._verdict(visit, source, script.name)
            return await self._one(request, visit, _Forms(shown, verdict=verdict))
        try:
            description = lines_of(form, "description").strip()
            if_version = version_of(text_of(form, "if_version"))
            await scripts.save(visit.principal, script.name, source, description, if_version=if_version)
        except (InvalidInput, Conflict) as error:
            again = _refused_edit(shown, error, await scripts.get(visit.principal, script.id))
            return await self._one(request, visit, _Forms(again), status=_status(error))
        return see_other(f"{PATH}/{script.id}?done=saved")

    async def start(self, request: Request, visit: Visit) -> Response:
        scripts, form = self.site.services.scripts, await form_of(request)
        id_, version = request.path_params["id"], version_of(text_of(form, "version"))
        try:
            inputs = inputs_of(lines_of(form, "inputs"))
            run = await scripts.start(visit.principal, id_, inputs, version=version)
        except (InvalidInput, Conflict) as error:
            shown = refused(filled("start", form), error, {"inputs": "inputs"})
            return await self._one(request, visit, _Forms(start=shown), status=_status(error))
        return see_other(f"{RUNS}/{run.id}")

    async def remove(self, request: Request, visit: Visit) -> Response:
        await self.site.services.scripts.archive(visit.principal, request.path_params["id"])
        return see_other(f"{PATH}?done=removed")

    async def _verdict(self, visit: Visit, source: str, name: str) -> str:
        failure = await self.site.services.scripts.check(visit.principal, source, name or AD_HOC)
        return "" if failure is None else failure.sentence(name or AD_HOC)

    def _new(self, visit: Visit, form: Form, *, verdict: str | None = None, status: int = 200) -> Response:
        return self.site.renderer.page(
            "automation_script_new.html",
            replace(visit.view, path=f"{PATH}/new"),
            status=status,
            done=None,
            trouble=None,
            form=form,
            verdict=verdict,
        )

    async def _one(
        self,
        request: Request,
        visit: Visit,
        forms: _Forms | None = None,
        *,
        done: str | None = None,
        status: int = 200,
    ) -> Response:
        scripts, who, forms = self.site.services.scripts, visit.principal, forms or _Forms()
        script = await scripts.get(who, request.path_params["id"])
        version = await scripts.version(script, version_of(request.query_params.get("version", "")))
        versions = await scripts.versions(who, script.id)
        runs: Sequence[ScriptRun] = await scripts.runs(who, script=script.id, limit=SHOWN_RUNS)
        return self.site.renderer.page(
            "automation_script.html",
            replace(visit.view, path=f"{PATH}/{script.id}"),
            status=status,
            done=done,
            trouble=None,
            script=script,
            version=version,
            versions=versions,
            runs=runs,
            form=forms.source or as_it_is(script, version.source),
            start=forms.start,
            verdict=forms.verdict,
            users=await users_of(self.site, who),
            gone=GONE,
        )


def as_it_is(script: Script, source: str) -> Form:
    known = {"description": script.description or "", "source": source, "if_version": str(script.version)}
    return Form("script", known)


def _refused_edit(form: Form, error: InvalidInput | Conflict, script: Script) -> Form:
    """After a conflict the next save is over the version that the person has been told of."""
    found = refused(form, error, _FIELDS)
    if isinstance(error, Conflict):
        found = replace(found, values={**found.values, "if_version": str(script.version)})
    return found


def inputs_of(text: str) -> JsonObject:
    """A JSON object, or lines NAME=VALUE, whose values are texts. Raises InvalidInput."""
    if not text.lstrip().startswith("{"):
        found, faults = variables_of(text)
        if faults:
            raise InvalidInput({"inputs": list(faults)}, "Nothing was started.")
        return dict(found)
    try:
        sent = json.loads(text)
    except ValueError:
        raise InvalidInput({"inputs": ["Is no JSON."]}, "Nothing was started.") from None
    except RecursionError:
        raise InvalidInput({"inputs": ["Is nested too deeply."]}, "Nothing was started.") from None
    if not isinstance(sent, dict):
        raise InvalidInput({"inputs": ["Must be a JSON object, or lines NAME=VALUE."]}, "Nothing was started.")
    return sent


def version_of(text: str) -> int | None:
    """None for what is no number of one."""
    found = number_of(text)
    return found if found is not None and 0 < found <= _LAST_VERSION else None


def _status(error: Exception) -> int:
    return 409 if isinstance(error, Conflict) else 400
