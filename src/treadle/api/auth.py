"""Who calls, by the request's headers."""

from dataclasses import dataclass

from starlette.requests import Request

from treadle.api.bodies import header
from treadle.domain.errors import Forbidden, Unauthenticated
from treadle.domain.identity import Principal
from treadle.services.audit import acting
from treadle.services.guesses import Guesses
from treadle.services.identity import Identity, digest_of
from treadle.services.tokens import Tokens, looks_like_token


@dataclass(frozen=True, slots=True)
class Caller:
    """`meter`: what its requests are counted by: the API key, or for a token its user, so that a new token is no new
    budget."""

    principal: Principal
    meter: str
    has_token: bool


class Authenticator:
    """`Authorization: Bearer <JWT or API key>`, or `X-Api-Key`."""

    def __init__(self, identity: Identity, tokens: Tokens, guesses: Guesses) -> None:
        self._identity = identity
        self._tokens = tokens
        self._guesses = guesses

    async def caller(self, request: Request) -> Caller:
        """Raises Unauthenticated, TooManyRequests, and Forbidden without a role in the key's or token's own
        organization."""
        caller = await self.known(request)
        if caller.principal.role is None:
            raise Forbidden("You have no role in this organization.", hint="An admin can give you one.")
        return caller

    async def known(self, request: Request) -> Caller:
        """Whoever has credentials that hold, also without a role: a key may count elsewhere. Raises Unauthenticated,
        TooManyRequests for those that do not, after too many of them, and Forbidden for a token of no member."""
        credential = _credential(request)
        try:
            caller = await self._holder(credential)
        except Unauthenticated:
            await self._guesses.wrong(request.client.host if request.client is not None else None)
            raise
        acting(caller.principal)
        return caller

    async def still(self, request: Request) -> Principal | None:
        """Who somebody that was let in is by now; None once the credentials do not hold any more, or their user has no
        role."""
        try:
            principal = (await self._holder(_credential(request))).principal
        except (Unauthenticated, Forbidden):
            return None
        return principal if principal.role is not None else None

    async def _holder(self, credential: str) -> Caller:
        if looks_like_token(credential):
            principal = await self._tokens.verify(credential)
            return Caller(principal, f"{principal.organization_id}/{principal.user_id}", has_token=True)
        digest = digest_of(credential)
        return Caller(await self._identity.authenticate_digest(digest), digest, has_token=False)


def _credential(request: Request) -> str:
    authorization = header(request, b"authorization")
    if not authorization:
        key = header(request, b"x-api-key").strip()
        if not key:
            raise Unauthenticated(
                "This needs credentials.", hint="Send `Authorization: Bearer <token or API key>` or `X-Api-Key`."
            )
        return key
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthenticated("The Authorization header must be `Bearer <token or API key>`.")
    return credential.strip()
