"""Signing in at an OpenID Connect provider: the authorization code flow with PKCE, as a confidential client.

What the flow must remember between its two requests is in a cookie, signed: no process holds state that another could
not take over. Its key is made of the client's secret, which all processes have, and nobody else but the provider.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from pydantic import BaseModel, ValidationError

from treadle.domain.errors import Unauthenticated
from treadle.ports import Clock
from treadle.services.issuers import Fetch, IssuerKeys
from treadle.services.oidc_provider import AGAIN, Discovery, OidcClient, Provider
from treadle.services.sessions import ForeignUser
from treadle.services.tokens import MAX_LENGTH, SKEW

#: Sends a form to a token endpoint, or asks a userinfo endpoint; gives what was answered, whatever its status. Raises
#: OSError.
Ask = Callable[[str, Mapping[str, str] | None, Mapping[str, str]], Awaitable[bytes]]

#: How long somebody may take at the provider, in seconds.
FLOW_SECONDS = 600

SCOPE = "openid email profile"

#: What every provider has to speak.
ALGORITHM = "RS256"

_RANDOM = 32  # bytes of a state, a nonce and a verifier
_MAX_SUBJECT = 255  # characters, as OpenID Connect says

log = structlog.get_logger(__name__)


class _Answer(BaseModel):
    """A token endpoint's."""

    id_token: str | None = None
    access_token: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Flow:
    state: str
    nonce: str
    verifier: str
    path: str  # to go on to
    ends: int  # seconds since 1970


class SingleSignOn:
    """Sends people to the provider, and hears whom it sends back."""

    def __init__(
        self,
        client: OidcClient,
        clock: Clock,
        *,
        fetch: Fetch,
        ask: Ask,
        new_text: Callable[[], str] = lambda: secrets.token_urlsafe(_RANDOM),
    ) -> None:
        self._client = client
        self._clock = clock
        self._ask = ask
        self._new_text = new_text
        self._key = hmac.digest(client.secret.encode(), b"treadle oidc flow", hashlib.sha256)
        self._discovery = Discovery(client, fetch, clock)

    async def begin(self, redirect_uri: str, path: str) -> tuple[str, str]:
        """Where to send the browser, and the cookie to give it. Raises Unauthenticated where the provider is away."""
        provider, _ = await self._discovery.look()
        now = int(self._clock.now().timestamp())
        flow = _Flow(self._new_text(), self._new_text(), self._new_text(), path, now + FLOW_SECONDS)
        challenge = _text(hashlib.sha256(flow.verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(provider.authorization_endpoint, asked), self._signed(flow)

    async def finish(self, cookie: str | None, query: Mapping[str, str], redirect_uri: str) -> tuple[ForeignUser, str]:
        """Whom the provider vouches for, and the path to go on to. Raises Unauthenticated for everything else."""
        flow = self._opened(cookie)
        if flow is None or not hmac.compare_digest(query.get("state", "").encode(), flow.state.encode()):
            raise Unauthenticated(
                "This sign-in was not begun in this browser, or took too long.", hint="Begin it again."
            )
        if query.get("iss", self._client.issuer) != self._client.issuer:
            raise _refused("the answer is another issuer's")
        if "error" in query:
            raise _refused("the provider refused", error=query["error"][:100])
        if not query.get("code"):
            raise _refused("the answer has no code")
        provider, keys = await self._discovery.look()
        answer = await self._redeemed(provider, query["code"], flow.verifier, redirect_uri)
        claims = await self._claims(answer.id_token or "", keys, flow.nonce)
        if "email" not in claims and provider.userinfo_endpoint and answer.access_token:
            claims = await self._with_userinfo(claims, provider.userinfo_endpoint, answer.access_token)
        email = claims.get("email")
        is_verified = claims.get("email_verified") in (True, "true")
        user = ForeignUser(
            self._client.issuer, str(claims["sub"]), email if isinstance(email, str) else None, is_verified
        )
        return user, flow.path

    # ---- the provider ------------------------------------------------------------------------------------------------

    async def _redeemed(self, provider: Provider, code: str, verifier: str, redirect_uri: str) -> _Answer:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Accept": "application/json"}
        if "client_secret_basic" in provider.token_endpoint_auth_methods_supported:
            pair = f"{quote(self._client.id, safe='')}:{quote(self._client.secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._client.id, "client_secret": self._client.secret}
        try:
            answer = _Answer.model_validate_json(await self._ask(provider.token_endpoint, form, headers))
        except OSError as error:
            raise _refused("the token endpoint does not answer", error=str(error)[:500]) from None
        except ValidationError:  # not its words: they may hold a token
            raise _refused("the token endpoint does not answer as it should") from None
        if answer.error is not None or answer.id_token is None:
            raise _refused("the provider gave no token", error=(answer.error or "none")[:100])
        return answer

    async def _claims(self, token: str, keys: IssuerKeys, nonce: str) -> dict[str, object]:
        """Of an ID token that is this provider's, for us, for this flow, and not expired."""
        key = await keys.find(_key_id(token))
        if key is None:
            raise _refused("the token is signed with an unknown key")
        registry = jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=int(SKEW.total_seconds()),
            iss={"essential": True, "value": self._client.issuer},
            aud={"essential": True, "value": self._client.id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            claims: dict[str, object] = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
            registry.validate(claims)
        except (JoseError, ValueError, OverflowError) as error:
            raise _refused("the token is not valid", error=type(error).__name__) from None
        subject, audience = claims["sub"], claims["aud"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT:
            raise _refused("the token names nobody")
        is_for_several = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", None if is_for_several else self._client.id) != self._client.id:
            raise _refused("the token was made for another client")
        return claims

    async def _with_userinfo(self, claims: dict[str, object], address: str, token: str) -> dict[str, object]:
        """Providers that leave the e-mail address out of the token have it there."""
        try:
            found = json.loads(await self._ask(address, None, {"Authorization": f"Bearer {token}"}))
        except (OSError, ValueError):
            raise _refused("the userinfo endpoint does not answer as it should") from None
        if not isinstance(found, dict) or found.get("sub") != claims["sub"]:
            raise _refused("the userinfo endpoint speaks of somebody else")
        return {**claims, "email": found.get("email"), "email_verified": found.get("email_verified")}

    # ---- the cookie --------------------------------------------------------------------------------------------------

    def _signed(self, flow: _Flow) -> str:
        body = _text(json.dumps(asdict(flow)).encode())
        return f"{body}.{self._mark(body)}"

    def _opened(self, cookie: str | None) -> _Flow | None:
        body, _, mark = (cookie or "").partition(".")
        if not hmac.compare_digest(mark.encode(errors="replace"), self._mark(body).encode()):
            return None
        flow = _Flow(**json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
        return flow if self._clock.now().timestamp() < flow.ends else None

    def _mark(self, body: str) -> str:
        return hmac.digest(self._key, body.encode(errors="replace"), hashlib.sha256).hex()


def _refused(reason: str, **more: str) -> Unauthenticated:
    """One sentence to whoever signs in, whatever it is; the log has the reason."""
    log.warning("oidc_refused", reason=reason, **more)
    return Unauthenticated("Signing in there did not work.", hint=AGAIN)


def _key_id(token: str) -> str | None:
    """Only to choose the key that must then verify it."""
    head = token[:MAX_LENGTH].partition(".")[0]
    try:
        found = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        raise _refused("the token is no token") from None
    key_id = found.get("kid") if isinstance(found, dict) else None
    if len(token) > MAX_LENGTH or not (key_id is None or isinstance(key_id, str)):
        raise _refused("the token is no token")
    return key_id


def _with_query(url: str, more: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), *more.items()])))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
