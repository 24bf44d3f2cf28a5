"""The way in to every page: who looks, whether a form is our own, and what is shown when something is refused."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from treadle.api.bodies import header, refuse_longer
from treadle.api.problems import RETRY_SECONDS, unavailable, unexpected
from treadle.domain.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TooLarge,
    TooManyRequests,
    TreadleError,
    Unavailable,
)
from treadle.domain.identity import Principal
from treadle.ports.page import PageSession
from treadle.services import audit
from treadle.services.audit import acting, origin
from treadle.services.sessions import Sessions
from treadle.web.render import SECURITY_HEADERS, Renderer, View

COOKIE = "treadle_session"

#: Fields of a form, files in it, and bytes of one field.
MAX_FIELDS, MAX_FILES, MAX_FIELD_BYTES = 500, 20, 1 << 20

#: Bytes of a form, where its page takes no more.
MAX_FORM_BYTES = 8 << 20

#: Above this no database counts.
_LAST_ID = 2**63 - 1

_SAFE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Visit:
    """A signed-in request."""

    principal: Principal
    session: PageSession
    token: str
    view: View


Page = Callable[[Request, Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Door:
    """Opens pages to those who are signed in."""

    def __init__(self, sessions: Sessions, renderer: Renderer, *, public_url: str | None) -> None:
        self._sessions = sessions
        self._renderer = renderer
        self._origin = _origin(public_url) if public_url else None
        self.is_secure = public_url is not None and public_url.startswith("https:")

    def page(self, handler: Page, *, most_bytes: int = MAX_FORM_BYTES) -> Endpoint:
        """`handler` for signed-in people; others are sent to sign in, and come back. What it raises becomes a page.
        `most_bytes`: of a form, with its files."""

        async def endpoint(request: Request) -> Response:
            with origin(audit.Door.PAGE, address_of(request)):
                return await enter(request)

        async def enter(request: Request) -> Response:
            visit: Visit | None = None
            try:
                _require_bounds(request, most_bytes)
                visit = await self._visit(request)
                if visit is None:
                    return self._to_sign_in(request)
                acting(visit.principal)
                if request.method not in _SAFE:
                    await self._require_own_form(request, visit.token)
                return await handler(request, visit)
            except ClientDisconnect:
                raise
            except Exception as error:  # noqa: BLE001 - the last place that can say anything to whoever looks
                return self.refusal(request, error, visit)
            finally:
                await request.close()  # the files of its form

        return endpoint

    def open(self, handler: Endpoint) -> Endpoint:
        """`handler` for anybody, with the same words for what it raises."""

        async def endpoint(request: Request) -> Response:
            with origin(audit.Door.PAGE, address_of(request)):
                return await enter(request)

        async def enter(request: Request) -> Response:
            try:
                _require_bounds(request, MAX_FORM_BYTES)
                if request.method not in _SAFE:
                    self._require_own_origin(request)
                return await handler(request)
            except ClientDisconnect:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                return self.refusal(request, error)
            finally:
                await request.close()

        return endpoint

    def let_in(self, response: Response, token: str, *, seconds: int) -> Response:
        """With the cookie of a new session."""
        response.set_cookie(
            COOKIE, token, max_age=seconds, path="/", secure=self.is_secure, httponly=True, samesite="lax"
        )
        return response

    def let_out(self, response: Response) -> Response:
        response.delete_cookie(COOKIE, path="/", secure=self.is_secure, httponly=True, samesite="lax")
        return response

    def refusal(self, request: Request, error: Exception, visit: Visit | None = None) -> Response:
        """The page that says why not; with the way elsewhere for `visit`, who is signed in."""
        status, title, said, headers = _words(error, request)
        view = visit.view if visit is not None else View(path=request.url.path, csrf="")
        return self._renderer.page(
            "refusal.html", view, status=status, headers=headers, title=title, said=said, status_code=status
        )

    async def _visit(self, request: Request) -> Visit | None:
        token = request.cookies.get(COOKIE)
        session = await self._sessions.principal(token) if token else None
        if token is None or session is None:
            return None
        who = session.principal
        view = View(
            path=request.url.path,
            csrf=csrf_of(token),
            email=who.email,
            organization=str(who.organization_id),
            role=who.role,
        )
        return Visit(who, session, token, view)

    def _to_sign_in(self, request: Request) -> Response:
        if request.method not in _SAFE or request.headers.get("accept", "").startswith("text/event-stream"):
            raise Forbidden("You are signed out.", hint="Sign in again in another tab, then repeat this.")
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(wanted)}", 303, headers=dict(SECURITY_HEADERS))

    async def _require_own_form(self, request: Request, token: str) -> None:
        self._require_own_origin(request)
        given = request.headers.get("x-csrf") or str((await form_of(request)).get("csrf", ""))
        if not hmac.compare_digest(given.encode(), csrf_of(token).encode()):
            raise Forbidden("This form is out of date.", hint="Load the page again, then repeat this.")

    def _require_own_origin(self, request: Request) -> None:
        """Browsers say where a form comes from; one that does not is no browser, and has no cookie to abuse."""
        if request.headers.get("sec-fetch-site") == "same-origin":
            return  # the browser has compared them itself, whatever a proxy between us made of our address
        origin = request.headers.get("origin")
        own = {_origin(str(request.base_url)), self._origin}
        if origin is not None and _origin(origin) not in own:
            raise Forbidden("This form does not come from here.")


def _require_bounds(request: Request, most_bytes: int) -> None:
    """Before anything is read or looked up. Raises NotFound for an id that nothing can have, TooLarge, and InvalidInput
    for a form that does not say how large it is, as no browser's does."""
    if any(isinstance(value, int) and value > _LAST_ID for value in request.path_params.values()):
        raise NotFound("There is nothing here.")
    if request.method in _SAFE:
        return
    if header(request, b"transfer-encoding"):
        raise InvalidInput({}, "The form does not say how large it is.")
    said = f"A form with its files may hold at most {most_bytes >> 20:,} MiB here."
    refuse_longer(request, most_bytes, TooLarge(said))


async def form_of(request: Request) -> FormData:
    """The form of a request, read once, with bounds. Raises InvalidInput for one that breaks them, or off."""
    try:
        return await request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise InvalidInput({}, f"The form cannot be read: {error.detail}") from None


def csrf_of(token: str) -> str:
    """What the forms of a session carry; made of its token, which no other site can read."""
    return hmac.digest(token.encode(errors="replace"), b"treadle form", hashlib.sha256).hex()


def address_of(request: Request) -> str:
    """Where a request comes from: what `api.front` found out; "" where nobody knows."""
    return request.client.host if request.client is not None else ""


def local_path(text: str | None, default: str = "/runs") -> str:
    """`text` if it is a path of ours, to go back to; never another host."""
    is_ours = text is not None and text.startswith("/") and not text.startswith(("//", "/\\")) and "\n" not in text
    return text if text is not None and is_ours else default


def see_other(path: str) -> Response:
    """After a form: to a page that may be loaded again."""
    return RedirectResponse(path, 303, headers=dict(SECURITY_HEADERS))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


#: Status and title by the kind of error, the most special first.
_TITLES: tuple[tuple[type[TreadleError], int, str], ...] = (
    (NotFound, 404, "Not found"),
    (Forbidden, 403, "Not allowed"),
    (TooManyRequests, 429, "Too many requests"),
    (Conflict, 409, "Not possible now"),
    (InvalidInput, 400, "Not valid"),
    (TooLarge, 413, "Too large"),
    (TreadleError, 400, "Not possible"),
)


def _words(error: Exception, request: Request) -> tuple[int, str, str, dict[str, str]]:
    if isinstance(error, Unavailable):
        unavailable(error, request)
        said = "The service cannot reach its database or its files at the moment."
        return 503, "Away for a moment", said, {"Retry-After": str(RETRY_SECONDS)}
    if not isinstance(error, TreadleError):
        return 500, "Something went wrong", unexpected(error, request).detail, {}
    status, title = next((status, title) for kind, status, title in _TITLES if isinstance(error, kind))
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyRequests) else {}
    return status, title, error.sentence(), headers
