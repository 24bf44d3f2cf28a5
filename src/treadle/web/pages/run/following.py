"""What keeps the page of a run live: its items as they come, and every part of the page that changed."""

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.bodies import whole_number
from treadle.domain.run import Run
from treadle.services.sharing import sees
from treadle.web.door import Visit
from treadle.web.guests import Guest, base_of, is_welcome
from treadle.web.live import Change, after_of, event_stream
from treadle.web.pages.run.channels import MAX_BEHIND, Channel, Channels
from treadle.web.pages.run.page import seen_run
from treadle.web.pages.run.shown import Shown, again, author
from treadle.web.pages.run.window import PAGE_EVENTS, bounds, primed, window
from treadle.web.render import View
from treadle.web.site import Site

#: The parts of the page that change, each an element of its own.
PARTS = ("head", "failure", "stages", "usage", "actions")

#: Of those, what is made for each viewer: its forms.
_OWN = frozenset({"actions"})

#: Frames that are sent at a time.
_FRAMES = 8


class Following:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._channels = Channels(site)

    async def follow(self, request: Request, visit: Visit) -> Response:
        """`?after=`: the newest event that the page has; `?trace=no`: for a page that shows an older part."""
        run = await seen_run(self._site, request, visit)
        after = whole_number(after_of(request))
        has_trace = request.query_params.get("trace") != "no"
        who = await author(self._site, run, visit.principal)
        start = run.last_event if after is None or not has_trace else min(after, run.last_event)
        return event_stream(self._changes(run, visit, who, start, has_trace=has_trace))

    async def _changes(
        self, run: Run, visit: Visit, who: str, after: int, *, has_trace: bool
    ) -> AsyncGenerator[Change, None]:
        sent: dict[str, str] = {}
        seen: Shown | None = None
        async with self._channels.join(run, who, base_of(visit, run.id)) as channel:
            while True:
                news, html = channel.news, ""
                if has_trace and after < channel.newest:
                    html, after = await self._items(channel, run, after)
                is_even = not has_trace or after >= channel.newest
                if is_even and channel.shown is not seen:  # how it stands, once its items are there
                    seen = channel.shown
                    html += self._changed(channel, visit.view, sent)
                if html:
                    if not await self._may_see_more(visit, run):
                        return
                    yield Change(html, str(after))
                elif channel.is_broken:
                    return
                elif channel.is_over:
                    yield Change("", str(after), is_last=True)
                    return
                else:
                    await news.wait()

    async def _items(self, channel: Channel, run: Run, after: int) -> tuple[str, int]:
        """Some more items, and the number of the newest."""
        if channel.newest - after > MAX_BEHIND:
            return await self._anew(channel)
        runs, base = self._site.services.runs, channel.shown.base
        # A frame may begin before what is wanted: an item that is there already is replaced by the same.
        if after >= channel.first and (frames := channel.after(after)[:_FRAMES]):
            return "".join(frame.html for frame in frames), frames[-1].last
        page = await runs.events_of(run.id, after=after, limit=PAGE_EVENTS)
        if not page:
            return "", channel.newest
        trace = await primed(runs, run.id, after)
        return self._channels.html(trace, page, base), page[-1].number

    async def _anew(self, channel: Channel) -> tuple[str, int]:
        """After a long sleep: the newest page in the place of what there was."""
        run = await again(self._site, channel.shown.run)
        found = await window(self._site.services.runs, run, *bounds(run))
        return self._site.renderer.html("run_anew.html", window=found, base=channel.shown.base), found.last

    async def _may_see_more(self, visit: Visit, run: Run) -> bool:
        """Whether the link, or the session, still counts, and sees the run."""
        if isinstance(visit, Guest):
            return await is_welcome(self._site, visit)
        session = await self._site.services.sessions.principal(visit.token)
        return session is not None and sees(session.principal, run)

    def _changed(self, channel: Channel, view: View, sent: dict[str, str]) -> str:
        found = ""
        now = self._site.services.clock.now()
        for part in PARTS:
            html = channel.parts.get(part)
            if html is None:
                html = self._site.renderer.html("run_part.html", part=part, shown=channel.shown, view=view, now=now)
                if part not in _OWN:
                    channel.parts[part] = html
            if sent.get(part) != html:
                found += html
                sent[part] = html
        return found
