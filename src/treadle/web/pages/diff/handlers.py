"""The diff's page, and what it loads: files, folders, context, pictures, patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.api.downloads import SAFE_HEADERS, attachment, download
from treadle.domain.diff_contents import MAX_CONTENTS_BYTES, Side, picture_type
from treadle.domain.errors import NotFound
from treadle.domain.run import Artifact, Run
from treadle.services.runs import DiffForm
from treadle.web.door import Visit
from treadle.web.guests import seen_by_guest
from treadle.web.pages.diff.diff_view import FileRenderer, FileView
from treadle.web.pages.diff.index import FileEntry
from treadle.web.pages.diff.kept import Kept
from treadle.web.pages.diff.options import LAYOUT_COOKIE, Options
from treadle.web.pages.diff.patches import patch_response
from treadle.web.pages.diff.shelf import OpenDiff, Shelf, diffs
from treadle.web.pages.diff.sources import StepDiff, contents_name, diff_name, steps_of
from treadle.web.pages.diff.tree import grow
from treadle.web.render import HTML, SECURITY_HEADERS
from treadle.web.site import Site

#: Files that come with the page, and lines of them; what follows is loaded when it is scrolled to.
FIRST_FILES, FIRST_LINES = 20, 800

_YEAR_SECONDS = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Opened:
    """A run's diff (or one step's), as somebody wants to see it."""

    run: Run
    options: Options
    steps: Sequence[StepDiff]
    diff: OpenDiff | None  # None: there is none
    kept: Kept | None
    has_patch: bool

    @property
    def matching(self) -> Sequence[FileEntry]:
        return [] if self.diff is None else self.options.matching(self.diff.entries)


class DiffPages:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site
        folder = Path(site.settings.data_dir)
        self._diffs = diffs(folder)
        # What was kept beside a diff, with some room for its header.
        self._contents: Shelf[Kept] = Shelf(folder, Kept.read, max_bytes=2 * MAX_CONTENTS_BYTES)
        self._files = FileRenderer()

    async def page(self, request: Request, visit: Visit) -> Response:
        opened = await self._open(request, visit)
        shown, following = await self._shown(opened)
        tree = grow(opened.matching)
        if request.headers.get("x-fragment") == "tree":
            response = self._fragment("folder", folder=tree, options=opened.options, skip=0)
            response.headers["X-Matching"] = str(tree.files)
            return response
        if request.headers.get("x-fragment") == "files":
            return self._fragment("file_list", files=shown, following=following, options=opened.options)
        response = self._site.renderer.page(
            "diff.html",
            visit.view,
            run=opened.run,
            options=opened.options,
            steps=opened.steps,
            diff=opened.diff,
            matching=len(opened.matching),
            has_patch=opened.has_patch,
            is_kept=opened.diff is not None,
            tree=tree,
            files=shown,
            following=following,
        )
        response.headers["Vary"] = "X-Fragment"
        if "view" in request.query_params:
            response.set_cookie(
                LAYOUT_COOKIE,
                opened.options.layout,
                max_age=_YEAR_SECONDS,
                path="/",
                secure=self._site.door.is_secure,
                httponly=True,
                samesite="lax",
            )
        return response

    async def file(self, request: Request, visit: Visit) -> Response:
        """One file as a fragment: whole, or (`first`) the lines from there on."""
        opened = await self._open(request, visit)
        view = await self._one(opened, _number(request, "at"), first=_number(request, "first", 0))
        block = "file_lines" if "first" in request.query_params else "file"
        return self._fragment(block, file=view, options=opened.options)

    async def tree(self, request: Request, visit: Visit) -> Response:
        """A folder as a fragment."""
        opened = await self._open(request, visit)
        under = request.query_params.get("under", "")
        skip = _number(request, "skip", 0)
        return self._fragment("folder", folder=grow(opened.matching, under, skip), options=opened.options, skip=skip)

    async def context(self, request: Request, visit: Visit) -> Response:
        """Lines around the hunks, as a fragment."""
        opened = await self._open(request, visit)
        diff, entry = _entry(opened, _number(request, "at"))
        kept = opened.kept
        if kept is None:
            raise NotFound("The lines around these were not kept.")
        render = partial(
            self._files.opened_context,
            diff,
            kept,
            entry,
            opened.options.layout,
            old=_number(request, "old"),
            new=_number(request, "new"),
            end=_number(request, "end"),
        )
        return _html(await to_thread.run_sync(render))

    async def picture(self, request: Request, visit: Visit) -> Response:
        opened = await self._open(request, visit)
        _, entry = _entry(opened, _number(request, "at"))
        side = Side.OLD if request.query_params.get("side") == Side.OLD else Side.NEW
        kind = picture_type(entry.path)
        content = opened.kept.content(entry, side) if opened.kept is not None and kind is not None else None
        if content is None or kind is None:
            raise NotFound("This picture was not kept.")
        return Response(content, headers={**SAFE_HEADERS, "Content-Type": kind})

    async def patch(self, request: Request, visit: Visit) -> Response:
        """The patch, or (`at`) one file's, to be read."""
        opened = await self._open(request, visit)
        if opened.diff is not None and "at" in request.query_params:
            diff, entry = _entry(opened, _number(request, "at"))
            return patch_response(diff, [entry], name=None)
        if opened.options.step is not None and opened.diff is not None:
            name = f"run-{opened.run.id}-step-{opened.options.step}.patch"
            return patch_response(opened.diff, opened.diff.entries, name=name)
        return await self._artifact(opened.run, DiffForm.PATCH, f"run-{opened.run.id}.patch")

    async def json(self, request: Request, visit: Visit) -> Response:
        run, options = await self._run(request, visit), Options.of(request, visit)
        step = "" if options.step is None else f"-step-{options.step}"
        return await self._artifact(run, diff_name(options.step), f"run-{run.id}{step}.json")

    # ---- what they share

    async def _run(self, request: Request, visit: Visit) -> Run:
        shared = seen_by_guest(visit)
        return shared or await self._site.services.agents.get(visit.principal, int(request.path_params["run_id"]))

    async def _open(self, request: Request, visit: Visit) -> Opened:
        run, options = await self._run(request, visit), Options.of(request, visit)
        artifacts = {each.name: each for each in await self._site.services.runs.artifacts_of(run)}
        artifact = artifacts.get(diff_name(options.step))
        steps, has_patch = steps_of(run, artifacts), DiffForm.PATCH in artifacts
        if artifact is None:
            return Opened(run, options, steps, None, None, has_patch)
        diff = await self._diffs.open(artifact, self._site.services.runs.content_of(artifact))
        kept = await self._kept(artifacts, options.step, diff)
        return Opened(run, options, steps, diff, kept, has_patch)

    async def _kept(self, artifacts: Mapping[str, Artifact], step: int | None, diff: OpenDiff) -> Kept | None:
        artifact = artifacts.get(contents_name(step))
        if artifact is None:
            return None
        kept = await self._contents.open(artifact, self._site.services.runs.content_of(artifact))
        return kept if kept.digest == diff.digest else None  # else of a diff that was replaced in this moment

    async def _shown(self, opened: Opened) -> tuple[Sequence[FileView], int | None]:
        """The files to show first, and the place of the one that follows them."""
        options = opened.options
        if opened.diff is None:
            return (), None
        if options.at is not None:
            return [await self._one(opened, options.at, first=options.first)], None
        shown, lines = list[FileView](), 0
        for entry in opened.matching:
            if entry.at < options.start:
                continue
            if len(shown) == FIRST_FILES or lines >= FIRST_LINES:
                return shown, entry.at
            view = await self._view(opened, opened.diff, entry, first=0, is_wanted=False)
            lines += 0 if view.folded else min(entry.lines, FIRST_LINES)
            shown.append(view)
        return shown, None

    async def _one(self, opened: Opened, at: int, *, first: int) -> FileView:
        diff, entry = _entry(opened, at)
        old, new = opened.options.line
        if old is not None or new is not None:
            first = await to_thread.run_sync(partial(self._files.stretch_of, diff, entry, old=old, new=new))
        return await self._view(opened, diff, entry, first=first, is_wanted=True)

    async def _view(self, opened: Opened, diff: OpenDiff, entry: FileEntry, *, first: int, is_wanted: bool) -> FileView:
        render = partial(
            self._files.view,
            diff,
            opened.kept,
            entry,
            opened.options.layout,
            first=first,
            is_wanted=is_wanted,
            is_whole=opened.options.is_whole,
            query=opened.options.base_query,
        )
        return await to_thread.run_sync(render)

    async def _artifact(self, run: Run, name: str, saved_as: str) -> Response:
        for artifact in await self._site.services.runs.artifacts_of(run):
            if artifact.name == name:
                headers = {**SAFE_HEADERS, "Content-Disposition": attachment(saved_as)}
                content = self._site.services.runs.content_of(artifact)
                return await download(content, media_type=artifact.content_type, headers=headers)
        raise NotFound("There is no such diff, or it is not kept any more.")

    def _fragment(self, block: str, **values: object) -> Response:
        return _html(self._site.renderer.fragment("diff_parts.html", f"fragment_{block}", **values))


def routes(site: Site) -> Sequence[Route]:
    pages = DiffPages(site)
    handlers = {
        "": pages.page,
        "/file": pages.file,
        "/tree": pages.tree,
        "/context": pages.context,
        "/image": pages.picture,
        "/patch": pages.patch,
        "/json": pages.json,
    }
    return [Route(f"/runs/{{run_id:int}}/diff{path}", site.door.page(each)) for path, each in handlers.items()]


def _entry(opened: Opened, at: int) -> tuple[OpenDiff, FileEntry]:
    if opened.diff is None or not 0 <= at < len(opened.diff.entries):
        raise NotFound("There is no such file in this diff.", hint="It may have changed since the page was loaded.")
    return opened.diff, opened.diff.entries[at]


def _number(request: Request, name: str, default: int | None = None) -> int:
    text = request.query_params.get(name, "")
    if text.isascii() and text.isdigit() and len(text) < 10:  # noqa: PLR2004 - beyond are no lines
        return int(text)
    if default is not None and not text:
        return default
    raise NotFound(f"There is nothing under {name}={text[:20]!r}.")


def _html(text: str) -> Response:
    return Response(text.encode(errors="replace"), headers={**SECURITY_HEADERS, "Content-Type": HTML})
