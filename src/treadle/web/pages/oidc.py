"""Signing in at an OpenID Connect provider, where one is set."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from treadle.domain.errors import Unauthenticated
from treadle.services.issuers import FETCH_SECONDS, MAX_BYTES, fetch_jwks
from treadle.services.oidc import FLOW_SECONDS, SingleSignOn
from treadle.services.oidc_provider import client_of
from treadle.web.pages.sign_in import enter, sign_in_page, visitor_of, way_on
from treadle.web.render import SECURITY_HEADERS
from treadle.web.site import Site

#: What a flow remembers between its two requests; sent to them alone.
FLOW_COOKIE = "treadle_oidc"

PATH = "/sign-in/oidc"
CALLBACK = f"{PATH}/callback"


def routes(site: Site) -> Sequence[Route]:
    """Raises ConfigurationError for settings that are not whole."""
    client = client_of(site.settings)
    if client is None:
        return []
    pages = _Pages(site, SingleSignOn(client, site.services.clock, fetch=fetch_jwks, ask=ask))
    return [Route(PATH, site.door.open(pages.begin)), Route(CALLBACK, site.door.open(pages.finish))]


async def ask(url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]) -> bytes:
    """POSTs a form, or GETs where there is none: within a deadline, a bounded answer, without following it elsewhere.
    Raises OSError."""
    method = "GET" if form is None else "POST"
    data = dict(form) if form is not None else None
    body = bytearray()
    try:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx2.AsyncClient() as client,
            client.stream(method, url, data=data, headers=dict(headers)) as got,
        ):
            async for chunk in got.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
        raise OSError(f"{url} did not answer: {type(error).__name__}") from None
    if len(body) > MAX_BYTES:
        raise OSError(f"{url} answered with more than {MAX_BYTES:,} bytes")
    return bytes(body)


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site
    sign_on: SingleSignOn

    async def begin(self, request: Request) -> Response:
        """To the provider. A link and no form: to where a form leads, the page's policy lets nobody send it on."""
        path = way_on(request.query_params.get("next"))
        try:
            address, cookie = await self.sign_on.begin(self._redirect_uri(request), path)
        except Unauthenticated as error:
            return self._refused(error, path)
        response = RedirectResponse(address, 303, headers=dict(SECURITY_HEADERS))
        response.set_cookie(
            FLOW_COOKIE,
            cookie,
            max_age=FLOW_SECONDS,
            path=PATH,
            secure=self.site.door.is_secure,
            httponly=True,
            samesite="lax",  # the provider sends the browser back: to a strict one it would come without
        )
        return response

    async def finish(self, request: Request) -> Response:
        try:
            user, path = await self.sign_on.finish(
                request.cookies.get(FLOW_COOKIE), request.query_params, self._redirect_uri(request)
            )
            signed_in = await self.site.services.sessions.sign_in_with_identity(user, visitor_of(request))
        except Unauthenticated as error:
            return self._forgotten(self._refused(error, "/runs"))
        return self._forgotten(await enter(self.site, request, signed_in, way_on(path)))

    def _redirect_uri(self, request: Request) -> str:
        return (self.site.settings.public_url or str(request.base_url)).rstrip("/") + CALLBACK

    def _refused(self, error: Unauthenticated, path: str) -> Response:
        return sign_in_page(self.site, path=path, said=("bad", error.sentence()), status=400)

    def _forgotten(self, response: Response) -> Response:
        """What the flow remembered is good for one answer."""
        response.delete_cookie(FLOW_COOKIE, path=PATH, secure=self.site.door.is_secure, httponly=True, samesite="lax")
        return response
