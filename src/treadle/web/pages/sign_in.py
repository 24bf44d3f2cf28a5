"""Signing in with an API key or a password, and signing out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import TooManyRequests, Unauthenticated
from treadle.services.sessions import SignedIn, Visitor
from treadle.web.door import COOKIE, Visit, address_of, form_of, local_path, see_other
from treadle.web.forms import Form, filled, text_of
from treadle.web.render import View
from treadle.web.site import Site

#: What is said above the forms, by `?said=`: nobody may put words of their own there.
SAID = {
    "signed-out": ("good", "You are signed out."),
    "everywhere": ("good", "You are signed out, here and everywhere."),
    "password": ("good", "Your password is changed. Sign in with the new one."),
}

_KEY, _PASSWORD = Form("key"), Form("password")


def routes(site: Site) -> Sequence[Route]:
    pages = _Pages(site)
    return [
        Route("/sign-in", site.door.open(pages.show), methods=["GET"]),
        Route("/sign-in", site.door.open(pages.sign_in), methods=["POST"]),
        Route("/sign-out", site.door.page(pages.sign_out), methods=["POST"]),
    ]


def visitor_of(request: Request) -> Visitor:
    """Who tries to sign in."""
    return Visitor(address_of(request), request.headers.get("user-agent", ""))


def way_on(path: str | None) -> str:
    """Where to go when signed in: a page of ours that is not about signing in."""
    found = local_path(path)
    return "/runs" if found.startswith(("/sign-in", "/sign-out")) else found


async def enter(site: Site, request: Request, signed_in: SignedIn, path: str) -> Response:
    """With a new session, always: one that the browser brought along, whoever put it there, ends."""
    old = request.cookies.get(COOKIE)
    if old:
        await site.services.sessions.sign_out(old)
    seconds = int((signed_in.expires - site.services.clock.now()).total_seconds())
    return site.door.let_in(see_other(path), signed_in.token, seconds=seconds)


def sign_in_page(
    site: Site,
    *,
    path: str,
    key: Form = _KEY,
    password: Form = _PASSWORD,
    said: tuple[str, str] | None = None,
    status: int = 200,
    wait: int | None = None,
) -> Response:
    """`said`: a banner's kind and words; `wait`: seconds."""
    kind, words = said or ("", "")
    return site.renderer.page(
        "sign_in.html",
        View(path="/sign-in", csrf="", is_shared=True),
        status=status,
        headers={"Retry-After": str(wait)} if wait is not None else None,
        next=path,
        oidc_name=site.settings.oidc_name if site.settings.oidc_issuer else None,
        key=key,
        password=password,
        said=words,
        said_kind=kind,
    )


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def show(self, request: Request) -> Response:
        path = way_on(request.query_params.get("next"))
        token = request.cookies.get(COOKIE)
        if token and await self.site.services.sessions.principal(token) is not None:
            return see_other(path)
        return sign_in_page(self.site, path=path, said=SAID.get(request.query_params.get("said", "")))

    async def sign_in(self, request: Request) -> Response:
        """Wrong, unknown, revoked and expired are one answer, after one time."""
        form = await form_of(request)
        path = way_on(text_of(form, "next"))
        is_key = text_of(form, "by") == "key"
        shown = filled("key" if is_key else "password", form, secret=("key", "password"))
        names = ("key",) if is_key else ("email", "password")
        missing = {name: [_MISSING[name]] for name in names if not text_of(form, name)}
        if missing:
            return self._again(path, replace(shown, faults=missing), 400)
        try:
            signed_in = await self._signed_in(request, is_key=is_key)
        except Unauthenticated as error:
            return self._again(path, replace(shown, faults={names[-1]: [error.sentence()]}), 400)
        except TooManyRequests as error:
            said = f"{error.message} Wait {_minutes(error.retry_after)}, then try again."
            return self._again(path, replace(shown, said=said), 429, wait=error.retry_after)
        return await enter(self.site, request, signed_in, path)

    async def _signed_in(self, request: Request, *, is_key: bool) -> SignedIn:
        form, visitor, sessions = await form_of(request), visitor_of(request), self.site.services.sessions
        if is_key:
            return await sessions.sign_in_with_key(text_of(form, "key"), visitor)
        # A password is taken as it is: the spaces around it may be part of it.
        return await sessions.sign_in_with_password(text_of(form, "email"), str(form.get("password", "")), visitor)

    def _again(self, path: str, form: Form, status: int, *, wait: int | None = None) -> Response:
        key, password = (form, _PASSWORD) if form.id == "key" else (_KEY, form)
        return sign_in_page(self.site, path=path, key=key, password=password, status=status, wait=wait)

    async def sign_out(self, _request: Request, visit: Visit) -> Response:
        await self.site.services.sessions.sign_out(visit.token)
        return self.site.door.let_out(see_other("/sign-in?said=signed-out"))


_MISSING = {
    "key": "Give an API key.",
    "email": "Give your e-mail address.",
    "password": "Give your password.",
}


def _minutes(seconds: int) -> str:
    minutes = -(-seconds // 60)
    return "a minute" if minutes == 1 else f"{minutes} minutes"
