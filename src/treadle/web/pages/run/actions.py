"""What can be done with a run: stopped, resumed, run again, its branch flagged, shared."""

import base64
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.bodies import whole_number
from treadle.domain.errors import (
    AllowanceUsedUp,
    AlreadyFinished,
    Conflict,
    Forbidden,
    InvalidInput,
    TooLarge,
    TreadleError,
)
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.run import Run, RunDraft, RunPurpose, RunSource, StepDraft
from treadle.services.agents import branch_words
from treadle.services.images import MAX_IMAGES
from treadle.services.runs import Repeatable, RunRequest
from treadle.services.sharing import DEFAULT_DAYS
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import amount_of, filled, refused, text_of
from treadle.web.pages.run.page import RunPage, origin, seen_run
from treadle.web.site import Site

#: The fields of a follow-up, each with what the service calls it.
_FOLLOW_UP = {"prompt": "prompt", "images": "images", "max_cost": "max_cost_usd"}


class RunActions:
    """Each answers with the run's page; who sees a run may do all of it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._services = site.services
        self._page = RunPage(site)

    async def kill(self, request: Request, visit: Visit) -> Response:
        run = await seen_run(self._site, request, visit)
        with suppress(AlreadyFinished):  # it ended meanwhile, as the page will show
            await self._services.runs.kill_seen(run)
        return _back(run)

    async def resume(self, request: Request, visit: Visit) -> Response:
        run = await seen_run(self._site, request, visit)
        form = await form_of(request)
        try:
            images = await self._images(form)
            prompt = text_of(form, "prompt").replace("\r\n", "\n")  # as browsers send a line's end
            asked = (prompt, images, text_of(form, "max_cost"))
            await self._resume(visit.principal, run, *asked, _once(text_of(form, "token"), (run.id, *asked)))
        except (InvalidInput, Conflict, TooLarge, AllowanceUsedUp) as error:
            said = refused(filled("follow-up", form), _gathered(error), _FOLLOW_UP)
            return await self._page.page(request, visit, run, form=said, status=HTTPStatus.BAD_REQUEST)
        finally:
            await form.close()  # its files
        return _back(run)

    async def again(self, request: Request, visit: Visit) -> Response:
        """The same prompts on the same repository, from the same branch; on a work branch of its own."""
        run = await seen_run(self._site, request, visit)
        made = await self._services.runs.create(
            visit.principal, RunRequest(_draft_again(run, visit.principal)), monthly_runs=await self._allowance(run)
        )
        return _back(made)

    async def ban(self, request: Request, visit: Visit) -> Response:
        run = await seen_run(self._site, request, visit)
        await self._services.agents.stop(visit.principal, run.id)
        return _back(run)

    async def unban(self, request: Request, visit: Visit) -> Response:
        run = await seen_run(self._site, request, visit)
        await self._services.agents.allow(visit.principal, run.id)
        return _back(run)

    async def links(self, request: Request, visit: Visit) -> Response:
        """Of somebody who comes back to the address of a link that was made: they are listed on the run's page."""
        return _back(await seen_run(self._site, request, visit))

    async def share(self, request: Request, visit: Visit) -> Response:
        """The link is shown on the page that comes, and never again: so no redirect."""
        run = await seen_run(self._site, request, visit)
        given = text_of(await form_of(request), "days")
        days = (whole_number(given) or 0) if given else DEFAULT_DAYS
        try:
            _, token = await self._services.sharing.make(visit.principal, run, days=days)
        except (InvalidInput, Conflict) as error:  # not of days of one's own, or too many links
            said = " ".join(error.faults["days"]) if isinstance(error, InvalidInput) else error.sentence()
            bad = HTTPStatus.BAD_REQUEST if isinstance(error, InvalidInput) else HTTPStatus.CONFLICT
            return await self._page.page(request, visit, run, share_error=said, status=bad)
        link = f"{origin(self._site, request)}/shared/{token}"
        return await self._page.page(request, visit, run, share_link=link)

    async def unshare(self, request: Request, visit: Visit) -> Response:
        run = await seen_run(self._site, request, visit)
        await self._services.sharing.revoke(visit.principal, run, request.path_params["link"])
        return _back(run)

    async def _resume(
        self,
        principal: Principal,
        run: Run,
        prompt: str,
        images: Sequence[str],
        max_cost: str,
        repeatable: Repeatable | None,
    ) -> None:
        """A budget that is not the caller's to give is a fault of its field."""
        budget = _budget(max_cost)
        try:
            await self._services.agents.resume(
                principal, run.id, prompt, images, max_cost_usd=budget, repeatable=repeatable
            )
        except Forbidden as error:
            if budget is None:
                raise
            raise InvalidInput({"max_cost_usd": [error.sentence()]}, "The run was not resumed.") from None

    async def _allowance(self, run: Run) -> int | None:
        return (await self._services.organizations.get(run.organization_id)).monthly_runs

    async def _images(self, form: FormData) -> Sequence[str]:
        """As data URIs. Raises InvalidInput and TooLarge, before anything is read whole."""
        files = [each for each in form.getlist("images") if isinstance(each, UploadFile) and each.filename]
        if len(files) > MAX_IMAGES:
            raise InvalidInput({"images": [f"Must be at most {MAX_IMAGES}, not {len(files)}."]})
        most = self._services.files.max_bytes
        if any((each.size or 0) > most for each in files):
            raise InvalidInput({"images": [f"An image may hold at most {most:,} bytes."]})
        return [_data_uri(each.content_type, await each.read()) for each in files]


def _draft_again(run: Run, principal: Principal) -> RunDraft:
    require(principal, Permission.RUN)
    if run.purpose is not RunPurpose.CODE:
        raise Conflict("Such a run is not asked for by itself.")
    steps = [step for step in run.steps if not step.is_follow_up]
    return RunDraft(
        git_url=run.git_url,
        branch_source=run.branch_source,
        branch_work="",  # the store names it, by the new run's id and these words
        branch_words=branch_words(steps[0].text),
        steps=tuple(StepDraft(step.text, step.is_commitable, step.is_structured) for step in steps),
        code_guidelines=run.code_guidelines,
        file_ids=run.file_ids,
        generate_diff=run.generate_diff,
        engine=run.engine,
        model=run.model,
        repository_id=run.repository_id,
        source=RunSource.CHAT,
        metadata=run.metadata,
        opens_pull_request=run.opens_pull_request,
        max_cost_usd=run.max_cost_usd,
        network=run.network,
    )


def _once(token: str, asked: Sequence[object]) -> Repeatable | None:
    """The same form sent twice adds one step; what is sent again changed is another."""
    if not token:
        return None
    digest = hashlib.sha256(repr(asked).encode(errors="replace")).hexdigest()
    return Repeatable(f"page:{token[:64]}:{digest[:32]}", digest)


def _budget(text: str) -> float | None:
    """Raises InvalidInput."""
    try:
        return amount_of(text)
    except ValueError as error:
        raise InvalidInput({"max_cost_usd": [str(error)]}, "The run was not resumed.") from None


def _gathered(error: TreadleError) -> TreadleError:
    """With the faults of `images[2]` as those of the field `images`."""
    if not isinstance(error, InvalidInput):
        return error
    gathered: dict[str, list[str]] = {}
    for path, said in error.faults.items():
        name, bracket, rest = path.partition("[")
        place = f"Image {int(rest[:-1]) + 1}: " if bracket and rest[:-1].isdecimal() else ""
        gathered.setdefault(name, []).extend(f"{place}{each}" for each in said)
    return InvalidInput(gathered, error.message)


def _data_uri(media_type: str | None, data: bytes) -> str:
    return f"data:{media_type or 'application/octet-stream'};base64,{base64.b64encode(data).decode()}"


def _back(run: Run) -> Response:
    return see_other(f"/runs/{run.id}")
