"""A small OpenID Connect provider on loopback that keeps the rules: PKCE, one use of a code, the client's secret, the
redirect address that was registered. Tests change what it says.

    with OidcProvider() as provider:
        provider.says = {"sub": "u-1", "email": "somebody@treadle.test", "email_verified": True}
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "treadle", "a secret: of+the/client"

Claims = dict[str, Any]


class OidcProvider:
    """`says`: the claims about whoever signs in. `change` may alter an ID token's claims before it is signed; `now` is
    its clock, in seconds since 1970."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.says: Claims = {"sub": "u-1", "email": "somebody@treadle.test", "email_verified": True}
        self.change: Callable[[Claims], Claims] = lambda claims: claims
        self.sign: Callable[[Claims], str] = self._signed
        self.document: Claims = {}
        self.userinfo: Claims | None = None
        self.refuses: str | None = None
        self.is_away = False
        self.asked: list[str] = []
        self.authorizations: list[dict[str, str]] = []
        self.key = new_key()
        self.published = [self.key]
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        return {"oidc_issuer": self.issuer, "oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}

    def rotate(self) -> None:
        """A new key signs from now on; the old one is not published any more."""
        self.key = new_key()
        self.published = [self.key]

    def _signed(self, claims: Claims) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key, algorithms=["RS256"])

    # ---- what it answers

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(handler.path)
        self.asked.append(parts.path)
        if self.is_away:
            return 503, {}, b"away"
        documents: dict[str, Claims] = {
            "/.well-known/openid-configuration": {**self._discovery(), **self.document},
            "/jwks": {"keys": [key.as_dict(private=False) for key in self.published]},
        }
        if parts.path in documents:
            return _json(200, documents[parts.path])
        if parts.path == "/authorize":
            return self._authorize(dict(parse_qsl(parts.query)))
        if parts.path == "/token":
            length = int(handler.headers.get("content-length", 0))
            form = {name: values[0] for name, values in parse_qs(handler.rfile.read(length).decode()).items()}
            return self._token(form, handler.headers.get("authorization", ""))
        if parts.path == "/userinfo" and handler.headers.get("authorization") == "Bearer an-access-token":
            return _json(200, self.userinfo or {})
        return _json(404, {"error": "not_found"})

    def _discovery(self) -> Claims:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }

    def _authorize(self, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self.authorizations.append(query)
        wanted = ("response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge")
        if any(not query.get(name) for name in wanted) or query["client_id"] != CLIENT_ID:
            return _json(400, {"error": "invalid_request"})
        answer = {"state": query["state"], "iss": self.issuer}
        if self.refuses is not None:
            answer["error"] = self.refuses
        else:
            answer["code"] = secrets.token_urlsafe(16)
            self._codes[answer["code"]] = query
        return 302, {"Location": f"{query['redirect_uri']}?{urlencode(answer)}"}, b""

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, str], bytes]:
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode() if authorization else ":"
        name, _, secret = pair.partition(":")
        given = (
            (unquote(name), unquote(secret)) if authorization else (form.get("client_id"), form.get("client_secret"))
        )
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if given != (CLIENT_ID, CLIENT_SECRET):
            return _json(401, {"error": "invalid_client"})
        if (
            asked is None
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge.decode().rstrip("=") != asked["code_challenge"]
        ):
            return _json(400, {"error": "invalid_grant"})
        now = int(self.now())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims = self.change({**claims, **self.says})
        return _json(200, {"id_token": self.sign(claims), "access_token": "an-access-token", "token_type": "Bearer"})


def new_key() -> RSAKey:
    """One that nobody published."""
    return RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})


def _json(status: int, body: object) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


def _handler(provider: OidcProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = provider.answer(self)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class names it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
            pass

    return Handler
