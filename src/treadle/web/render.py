"""Templates: everything is escaped, an unknown name is an error."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from treadle.domain.money import dollars
from treadle.ports import Clock
from treadle.version import __version__
from treadle.web import text
from treadle.web.assets import asset_url

#: Nothing but our own files, no inline script or style, nobody's frame.
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}

HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class View:
    """What a template is given beside its own values: who looks, and when."""

    path: str
    csrf: str
    email: str | None = None
    organization: str | None = None
    role: str | None = None
    is_shared: bool = False  # by a link, without signing in


class Renderer:
    """One environment for all pages."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._environment = Environment(
            loader=PackageLoader("treadle.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "visible": text.visible,
            "one_line": text.one_line,
            "duration": text.duration,
            "money": text.money,
            "dollars": dollars,
            "count": text.count,
            "ago": self._ago,
        }
        self._environment.globals |= {"asset": asset_url, "version": __version__, "clipped": text.clipped}

    def html(self, template: str, **values: object) -> str:
        return self._environment.get_template(template).render(values)

    def fragment(self, template: str, block: str, **values: object) -> str:
        """One block of a template: what a live page swaps in."""
        found = self._environment.get_template(template)
        context = found.new_context(values)
        return "".join(found.blocks[block](context))

    def page(
        self,
        template: str,
        view: View,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: object,
    ) -> Response:
        body = self.html(template, view=view, **values)
        return Response(body.encode(errors="replace"), status, {**SECURITY_HEADERS, **(headers or {})}, HTML)

    def _ago(self, date: datetime | None) -> Markup:
        return text.time_tag(date, self._clock.now())
