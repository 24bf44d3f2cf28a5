"""Who gets in: API keys, our tokens, tokens of other issuers, and what is none of these."""

import base64
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.support.deployment import PROCESSES, Deployment, Json, Member, deployed

from treadle.domain.identity import Role
from treadle.ids import RandomUuids
from treadle.services.signing_keys import SigningKeys
from treadle.services.tokens import Tokens

ISSUER = "https://login.example/"
DAY = 24 * 3600


class Login:
    """Another issuer: its keys, and its JWKS address."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048)
        self.key_id = "first"
        self.asked = 0
        self.is_down = False

    async def fetch(self, url: str) -> bytes:
        assert url == "https://login.example/keys"
        self.asked += 1
        if self.is_down:
            raise OSError("down")
        foreign: list[Json] = [{"kty": "EC", "kid": "curve"}, {"kty": "RSA", "use": "enc", "kid": "enc"}]
        own = {**self.key.as_dict(private=False), "kid": self.key_id, "use": "sig"}
        return json.dumps({"keys": [*foreign, own]}).encode()

    def token(self, here: Deployment, who: Member, *, key_id: str | None = None, **changes: object) -> str:
        claims = {
            "iss": ISSUER,
            "aud": ["treadle", "others"],
            "exp": int(here.clock.now().timestamp()) + 600,
            "tenId": str(who.organization.uuid),
            "oid": str(who.user.uuid),
            "role": ["Tenant.User"],
            **changes,
        }
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": key_id or self.key_id}, given, self.key)


@pytest.fixture
def login() -> Login:
    return Login()


@pytest.fixture
async def trusting(tmp_path: Path, login: Login) -> AsyncIterator[Deployment]:
    issuers = [{"issuer": ISSUER, "jwksUrl": "https://login.example/keys", "audience": "treadle"}]
    async with deployed(tmp_path, fetch=login.fetch, jwt_issuers=json.dumps(issuers)) as found:
        yield found


async def status(here: Deployment, headers: dict[str, str]) -> int:
    answer = await here.http.get(PROCESSES, headers=headers)
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
    return answer.status_code


async def with_token(here: Deployment, text: str) -> int:
    return await status(here, {"Authorization": f"Bearer {text}"})


async def issue(here: Deployment, who: Member) -> Json:
    answer = await here.http.post("/auth/token", headers=who.headers)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found: Json = answer.json()
    return found


def claims_of(text: str) -> tuple[Json, Json]:
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in text.split(".")[:2])
    return header, claims


def forge(header: Json, claims: Json, signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    return ".".join([*parts, signature])


def signed_with(header: Json, claims: Json, secret: bytes) -> str:
    """With HMAC, as a confused verifier would check it."""
    unsigned = forge(header, claims).rstrip(".")
    digest = hmac.digest(secret, unsigned.encode(), "sha256")
    return f"{unsigned}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


# ---- keys


@pytest.mark.anyio
async def test_a_key_gets_in_by_either_header(here: Deployment) -> None:
    key = here.admin.key
    assert await status(here, {"X-Api-Key": key}) == 200
    assert await status(here, {"Authorization": f"Bearer {key}"}) == 200
    assert await status(here, {"authorization": f"bearer  {key} "}) == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Api-Key": ""},
        {"X-Api-Key": "trd_unknown"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer trd_unknown"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer eyJ.eyJ.x"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJ0cmVhZGxlIn0."},
        {"Authorization": "Bearer " + "eyJ" + "A" * 30_000 + ".A.A"},
    ],
)
async def test_everything_else_is_401(here: Deployment, headers: dict[str, str]) -> None:
    assert await status(here, headers) == 401


@pytest.mark.anyio
async def test_a_revoked_key_is_out_at_once_here_and_in_seconds_elsewhere(here: Deployment) -> None:
    user = await here.member("user@example.com")
    assert await status(here, user.headers) == 200
    (record,) = [key for key in await here.services.identity.keys(1) if key.user_id == user.user.id]
    await here.store.revoke_api_key(record.id, here.clock.now())  # as another process would
    assert await status(here, user.headers) == 200
    here.clock.advance(5)
    assert await status(here, user.headers) == 401
    other = await here.member("other@example.com")
    assert await status(here, other.headers) == 200
    (record,) = [key for key in await here.services.identity.keys(1) if key.user_id == other.user.id]
    await here.services.identity.revoke_key(record.id)
    assert await status(here, other.headers) == 401


@pytest.mark.anyio
async def test_an_expired_key_is_out(here: Deployment) -> None:
    user = await here.member("user@example.com")
    end = here.clock.now() + timedelta(hours=1)
    _, key = await here.services.identity.create_key("user@example.com", 1, expires=end)
    assert await status(here, {"X-Api-Key": key}) == 200
    here.clock.advance(3600)
    assert await status(here, {"X-Api-Key": key}) == 401
    assert await status(here, user.headers) == 200


@pytest.mark.anyio
async def test_without_a_role_it_is_403(here: Deployment) -> None:
    user = await here.member("user@example.com")
    token = (await issue(here, user))["accessToken"]
    await here.services.identity.set_role(1, user.user.id, None)
    here.clock.advance(5)
    assert await status(here, user.headers) == 403
    assert await with_token(here, token) == 403


# ---- our tokens


@pytest.mark.anyio
async def test_a_token_says_what_the_contract_says(here: Deployment) -> None:
    answer = await issue(here, here.admin)
    assert answer["tokenType"] == "Bearer"
    assert answer["expiresIn"] == DAY
    assert answer["dateExpires"] == "2026-10-02T09:30:00.000Z"
    header, claims = claims_of(answer["accessToken"])
    assert header["alg"] == "RS256"
    start = int(here.clock.now().timestamp())
    assert {name: claims[name] for name in ("iss", "iat", "exp", "name", "upn", "role", "tenId", "oid")} == {
        "iss": "treadle",
        "iat": start,
        "exp": start + DAY,
        "name": "Admin",
        "upn": "admin@localhost",
        "role": ["Tenant.Admin"],
        "tenId": str(here.admin.organization.uuid),
        "oid": str(here.admin.user.uuid),
    }
    keys = (await here.http.get("/.well-known/jwks.json")).json()["keys"]
    assert [key["kid"] for key in keys] == [header["kid"]]
    assert set(keys[0]) == {"kty", "n", "e", "kid", "use", "alg"}
    assert jwt.decode(answer["accessToken"], RSAKey.import_key(keys[0]), algorithms=["RS256"]).claims == claims


@pytest.mark.anyio
async def test_a_token_holds_for_a_day_and_two_minutes_of_skew(here: Deployment) -> None:
    token = (await issue(here, here.admin))["accessToken"]
    assert await with_token(here, token) == 200
    here.clock.advance(-119)  # our clock is behind the issuer's
    assert await with_token(here, token) == 200
    here.clock.advance(119 + DAY + 118)
    assert await with_token(here, token) == 200
    here.clock.advance(2)
    assert await with_token(here, token) == 401


@pytest.mark.anyio
async def test_a_token_from_further_in_the_future_is_refused(here: Deployment) -> None:
    token = (await issue(here, here.admin))["accessToken"]
    here.clock.advance(-122)
    assert await with_token(here, token) == 401


@pytest.mark.anyio
async def test_a_token_carries_the_lesser_of_its_role_and_the_stores(here: Deployment) -> None:
    manager = await here.member("manager@example.com", Role.MANAGER)
    token = (await issue(here, manager))["accessToken"]
    assert claims_of(token)[1]["role"] == ["Tenant.User"]
    await here.start()
    bearer = {"Authorization": f"Bearer {token}"}
    await here.services.identity.set_role(1, manager.user.id, Role.ADMIN)
    assert (await here.http.get(PROCESSES, headers=bearer)).json() == []
    admins = {"Authorization": f"Bearer {(await issue(here, here.admin))['accessToken']}"}
    assert len((await here.http.get(PROCESSES, headers=admins)).json()) == 1
    await here.services.identity.set_role(1, here.admin.user.id, Role.MEMBER)
    here.clock.advance(5)
    assert len((await here.http.get(PROCESSES, headers=admins)).json()) == 1  # its own
    process = await here.start(manager)
    assert (await here.http.get(f"{PROCESSES}/by-id/{process['id']}", headers=admins)).status_code == 404


@pytest.mark.anyio
async def test_no_token_is_given_for_a_token(here: Deployment) -> None:
    token = (await issue(here, here.admin))["accessToken"]
    answer = await here.http.post("/auth/token", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert (await here.http.post("/auth/token")).status_code == 401


@pytest.mark.anyio
async def test_the_usual_forgeries_are_refused(here: Deployment) -> None:
    token = (await issue(here, here.admin))["accessToken"]
    header, claims = claims_of(token)
    head, payload, signature = token.split(".")
    (public,) = (await here.http.get("/.well-known/jwks.json")).json()["keys"]
    secret = RSAKey.import_key(public).as_pem(private=False)
    other = RSAKey.generate_key(2048)
    forgeries = {
        "none": forge({**header, "alg": "none"}, claims),
        "none, signed": forge({**header, "alg": "none"}, claims, signature),
        "the public key as a secret": signed_with({**header, "alg": "HS256"}, claims, secret),
        "another algorithm": jwt.encode({**header, "alg": "PS256"}, claims, other, algorithms=["PS256"]),
        "another key": jwt.encode(header, claims, other),
        "a key of its own": jwt.encode({**header, "jwk": other.as_dict(private=False)}, claims, other),
        "an unknown key": jwt.encode({**header, "kid": "unknown"}, claims, other),
        "no key id": jwt.encode({"alg": "RS256"}, claims, other),
        "a key id that is no text": forge({**header, "kid": ["x"]}, claims, signature),
        "other claims": forge(header, {**claims, "oid": "x"}, signature),
        "no signature": f"{head}.{payload}.",
        "an issuer that is no text": forge(header, {**claims, "iss": ["treadle"]}, signature),
        "claims that are a list": forge(header, [claims], signature),  # type: ignore[arg-type]  # that is the point
    }
    for name, text in forgeries.items():
        assert await with_token(here, text) == 401, name
    assert await with_token(here, token) == 200


@pytest.mark.anyio
async def test_processes_share_their_signing_keys_sealed(tmp_path: Path) -> None:
    async with deployed(tmp_path) as one:
        first = (await issue(one, one.admin))["accessToken"]
        assert "PRIVATE" not in (tmp_path / "treadle.db").read_bytes().decode(errors="replace")
        uuids = RandomUuids()
        two = Tokens(
            one.store,
            SigningKeys(one.store, one.vault, one.clock, new_uuid=uuids),
            one.clock,
            audit=one.services.audit,
            issuer="treadle",
            new_uuid=uuids,
        )
        assert (await two.verify(first)).email == "admin@localhost"
        principal = await one.services.identity.authenticate(one.admin.key)
        assert await with_token(one, (await two.issue(principal)).text) == 200
        assert len(await one.store.signing_keys()) == 1


# ---- other issuers


@pytest.mark.anyio
async def test_another_issuers_token_gets_in(trusting: Deployment, login: Login) -> None:
    user = await trusting.member("user@example.com")
    assert await with_token(trusting, login.token(trusting, user)) == 200
    assert await with_token(trusting, login.token(trusting, user, role="Tenant.User")) == 200
    assert await with_token(trusting, login.token(trusting, user, aud="treadle")) == 200
    assert login.asked == 1


@pytest.mark.anyio
async def test_what_another_issuer_must_not_claim(trusting: Deployment, login: Login) -> None:
    user = await trusting.member("user@example.com")
    now = int(trusting.clock.now().timestamp())
    changes: list[tuple[Json, int]] = [
        ({"aud": None}, 401),
        ({"aud": "others"}, 401),
        ({"aud": ["others"]}, 401),
        ({"exp": None}, 401),
        ({"exp": now - 121}, 401),
        ({"exp": "soon"}, 401),
        ({"exp": 1e300}, 200),
        ({"nbf": now + 121}, 401),
        ({"iat": now + 121}, 401),
        ({"tenId": None}, 401),
        ({"tenId": "x"}, 401),
        ({"oid": 5}, 401),
        ({"oid": str(trusting.admin.organization.uuid)}, 403),
        ({"role": []}, 403),
        ({"role": None}, 403),
        ({"role": {"Tenant.Admin": True}}, 403),
        ({"role": ["Tenant.Owner", 5]}, 403),
        ({"iss": "https://elsewhere.example/"}, 401),
        ({"iss": "treadle"}, 401),
    ]
    for change, expected in changes:
        assert await with_token(trusting, login.token(trusting, user, **change)) == expected, change


@pytest.mark.anyio
async def test_a_new_key_of_an_issuer_is_fetched_but_not_for_everybody_who_asks(
    trusting: Deployment, login: Login
) -> None:
    user = await trusting.member("user@example.com")
    assert await with_token(trusting, login.token(trusting, user)) == 200
    login.key, login.key_id = RSAKey.generate_key(2048), "second"
    assert await with_token(trusting, login.token(trusting, user)) == 401
    assert login.asked == 1
    trusting.clock.advance(30)
    assert await with_token(trusting, login.token(trusting, user)) == 200
    assert login.asked == 2
    for number in range(5):
        assert await with_token(trusting, login.token(trusting, user, key_id=f"no-{number}")) == 401
    assert login.asked == 2


@pytest.mark.anyio
async def test_an_issuer_that_is_down_counts_by_the_keys_we_have(trusting: Deployment, login: Login) -> None:
    user = await trusting.member("user@example.com")
    login.is_down = True
    assert await with_token(trusting, login.token(trusting, user)) == 401
    login.is_down = False
    trusting.clock.advance(30)
    assert await with_token(trusting, login.token(trusting, user)) == 200
    login.is_down = True
    trusting.clock.advance(3600)
    assert await with_token(trusting, login.token(trusting, user)) == 200


@pytest.mark.anyio
async def test_an_issuer_cannot_sign_for_us(trusting: Deployment, login: Login) -> None:
    answer = await issue(trusting, trusting.admin)
    _, claims = claims_of(answer["accessToken"])
    forged: Any = jwt.encode({"alg": "RS256", "kid": login.key_id}, claims, login.key)
    assert await with_token(trusting, forged) == 401
