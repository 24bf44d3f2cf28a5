"""Attacks through the door: what somebody with any client, or another site's page, may try against the API and the
pages. For every one: nothing gained."""

import asyncio
import base64
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.routing import Route
from structlog.testing import capture_logs
from tests.support.deployment import PROCESSES, Deployment, Json, body, deployed
from tests.support.pages import HOST, Person
from tests.unit.api.test_auth import claims_of, forge, signed_with

from treadle.api.docs_page import PATH as DOCS
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitError
from treadle.domain.git_url import parse
from treadle.services.guesses import BAD_CREDENTIALS_SECONDS, MAX_BAD_CREDENTIALS
from treadle.services.passwords import Passwords
from treadle.services.sessions import TRIES_BY_ADDRESS
from treadle.web.door import COOKIE, csrf_of
from treadle.workspace.access import AccessRules

pytestmark = pytest.mark.anyio

BODY_METHODS = {"POST", "PUT", "PATCH"}

#: What takes moments takes no longer on any machine, in seconds.
PATIENCE = 120.0


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found


def paths_of(here: Deployment) -> list[tuple[str, str]]:
    """(method, path) of every route, its parameters filled in with a one."""
    found = []
    for route in here.app.router.routes:
        if isinstance(route, Route):
            path = route.path
            for name in route.param_convertors:
                path = path.replace(f"{{{name}}}", "1")
                for kind in ("int", "run", "path"):
                    path = path.replace(f"{{{name}:{kind}}}", "1")
            assert "{" not in path, path
            found += [(method, path) for method in route.methods or ()]
    return found


# ---- other sites -----------------------------------------------------------------------------------------------------


async def test_no_answer_lets_another_site_read_it(here: Deployment) -> None:
    """No CORS at all: not for a preflight, not for what is read, not for an error."""
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    for _, path in paths_of(here):
        if path.endswith("/stream"):
            continue
        answer = await here.http.options(path, headers=asked)
        assert answer.status_code in {404, 405}, path
        assert not [name for name in answer.headers if name.startswith("access-control-")], path
    for path in (PROCESSES, "/healthz", "/nothing", "/.well-known/jwks.json", "/sign-in"):
        for key in ({}, here.admin.headers):
            answer = await here.http.get(path, headers={**asked, **key})
            assert not [name for name in answer.headers if name.startswith("access-control-")], path


async def test_every_answer_tells_browsers_to_be_careful(here: Deployment) -> None:
    """Whatever it is: found, refused, unknown, a page, a download, a redirect, a description."""
    process = await here.start()
    sent = {"file": ("x.html", b"<script>alert(1)</script>", "text/html")}
    file = (await here.http.post("/files", headers=here.admin.headers, files=sent)).json()
    asked = [*paths_of(here), ("GET", "/nothing"), ("DELETE", PROCESSES)]
    asked += [("GET", f"{PROCESSES}/by-id/{process['id']}"), ("GET", f"/files/by-id/{file['id']}/content")]
    for method, path in asked:
        if path.endswith(("/stream", "/events")):
            continue
        for headers in ({}, here.admin.headers):
            answer = await here.http.request(method, path, headers=headers)
            assert answer.headers["Cache-Control"], (method, path)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert answer.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy, (path, policy)
            if "script-src" in policy and path != DOCS:
                assert "script-src 'self';" in policy
            assert "unsafe-eval" not in policy
            assert "access-control-allow-origin" not in answer.headers


async def test_what_needs_credentials_is_in_no_cache(here: Deployment) -> None:
    for method, path in paths_of(here):
        if (
            method == "GET"
            and not path.endswith(("/stream", "/events", "/jwks.json"))
            and not path.startswith("/static")
        ):
            answer = await here.http.get(path, headers=here.admin.headers)
            assert answer.headers["Cache-Control"] == "no-store", path
    for path in (
        "/runs/1.css",
        "/runs.js",
        f"{PROCESSES}.png",
        f"{PROCESSES}/x.css",
        "/audit/a.js",
        "/settings/keys.css",
    ):
        answer = await here.http.get(path, headers=here.admin.headers)
        assert answer.status_code == 404, path
        assert answer.headers["Cache-Control"] == "no-store"


async def test_https_stays_https(tmp_path: Path) -> None:
    async with deployed(tmp_path / "a", public_url="https://treadle.example") as here:
        for path in ("/healthz", PROCESSES, "/sign-in"):
            answer = await here.http.get(path)
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    async with deployed(tmp_path / "b", public_url="http://treadle.example") as here:
        assert "Strict-Transport-Security" not in (await here.http.get("/healthz")).headers


async def test_the_descriptions_page_works_under_its_policy(here: Deployment) -> None:
    answer = await here.http.get(DOCS)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert policy.count("'sha256-") == answer.text.count("<script>") > 0
    assert "https://cdn.jsdelivr.net" in policy


# ---- credentials -----------------------------------------------------------------------------------------------------


async def test_a_key_is_taken_from_a_header_alone(here: Deployment) -> None:
    """Never from where it ends up in logs, histories and referrers, nor from a cookie, which other sites send."""
    key = here.admin.key
    for query in ("api_key", "apiKey", "key", "token", "access_token", "authorization", "x-api-key", "X-Api-Key"):
        assert (await here.http.get(PROCESSES, params={query: key})).status_code == 401
    for name in ("api_key", "authorization", "X-Api-Key", COOKIE):
        assert (await here.http.get(PROCESSES, headers={"Cookie": f"{name}={key}"})).status_code == 401
    person = await _signed_in(here)
    assert (await person.http.get(PROCESSES)).status_code == 401  # the page's session is the page's
    assert (await person.http.post(PROCESSES, json=body())).status_code == 401
    for header in ("Proxy-Authorization", "X-Forwarded-Authorization", "X-Original-Authorization", "Api-Key"):
        assert (await here.http.get(PROCESSES, headers={header: f"Bearer {key}"})).status_code == 401


async def test_a_key_does_not_open_the_pages(here: Deployment) -> None:
    for headers in (here.admin.headers, {"Authorization": f"Bearer {here.admin.key}"}):
        answer = await here.http.get("/settings/keys", headers=headers)
        assert answer.status_code == httpx2.codes.SEE_OTHER
        answer = await here.http.post("/settings/keys", headers={**headers, "Origin": HOST}, data={"name": "x"})
        assert answer.status_code == 403


async def test_a_guesser_learns_nothing_of_rates(tmp_path: Path) -> None:
    """Of whom would they be?"""
    async with deployed(tmp_path, rate_limit_code_generation="1000/30") as here:
        for path in (PROCESSES, "/v1/users/me"):
            assert "ratelimit" in (await here.http.get(path, headers=here.admin.headers)).headers
            for _ in range(MAX_BAD_CREDENTIALS + 1):
                answer = await here.http.get(path, headers={"X-Api-Key": "trd_x"})
            assert answer.status_code == 429
            assert not [name for name in answer.headers if name.startswith("ratelimit")]


async def test_guessing_keys_is_slowed_down_and_the_right_one_is_let_in(here: Deployment) -> None:
    guesses = [here.http.get(PROCESSES, headers={"X-Api-Key": f"trd_{number}"}) for number in range(150)]
    right = [here.http.get(PROCESSES, headers=here.admin.headers) for _ in range(20)]
    answers = await asyncio.gather(*guesses)
    found = [answer.status_code for answer in answers]
    assert (found.count(401), found.count(429)) == (MAX_BAD_CREDENTIALS, 150 - MAX_BAD_CREDENTIALS)
    for answer in answers:
        if answer.status_code == 429:
            assert 0 < int(answer.headers["Retry-After"]) <= BAD_CREDENTIALS_SECONDS
            assert answer.json()["code"] == "too_many_requests"
    assert {answer.status_code for answer in await asyncio.gather(*right)} == {200}
    agent_runs = await here.http.get("/v1/users/me", headers={"Authorization": "Bearer trd_wrong"})
    assert (agent_runs.status_code, bool(agent_runs.headers["Retry-After"])) == (429, True)
    assert (await here.http.get("/v1/users/me", headers=here.admin.headers)).status_code == 200
    assert (await here.http.get(PROCESSES)).status_code == 401  # without any nobody guesses
    (entry,) = await here.store.audit(None, limit=10, action="credentials.")
    assert (entry.action, entry.address) == ("credentials.throttled", "127.0.0.1")
    here.clock.advance(BAD_CREDENTIALS_SECONDS)
    assert (await here.http.get(PROCESSES, headers={"X-Api-Key": "trd_x"})).status_code == 401


async def test_behind_a_proxy_each_client_is_counted_by_itself(tmp_path: Path) -> None:
    async def guess(here: Deployment, forwarded: str) -> int:
        headers = {"X-Api-Key": "trd_wrong", "X-Forwarded-For": forwarded}
        return (await here.http.get(PROCESSES, headers=headers)).status_code

    async with deployed(tmp_path / "a", trusted_proxies="127.0.0.0/8") as here:
        for _ in range(MAX_BAD_CREDENTIALS):
            assert await guess(here, "203.0.113.5") == 401
        assert await guess(here, "203.0.113.5") == 429
        assert await guess(here, "6.6.6.6, 203.0.113.5") == 429  # what a client writes itself frees nobody
        assert await guess(here, "203.0.113.6") == 401
        for number in range(MAX_BAD_CREDENTIALS + 1):  # a whole IPv6 network is one client's
            last = await guess(here, f"2001:db8::{number:x}")
        assert last == 429
    async with deployed(tmp_path / "b") as here:  # nobody said that there is a proxy
        found = [await guess(here, f"203.0.113.{number}") for number in range(MAX_BAD_CREDENTIALS + 1)]
        assert found[-1] == 429


async def test_guessing_passwords_at_once_costs_no_more_than_is_allowed(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many at once: so many are looked at, and so many derive a key."""
    derived = list[str]()

    async def derive(_self: Passwords, password: str, *_: Any) -> bytes:
        derived.append(password)
        return b""

    monkeypatch.setattr(Passwords, "_derived", derive)
    people = [_browser(here) for _ in range(100)]
    sent = {"by": "password", "email": "admin@localhost", "password": "guess"}
    answers = await asyncio.gather(*(person.send("/sign-in", sent) for person in people))
    found = [answer.status_code for answer in answers]
    assert len(derived) == found.count(400) == TRIES_BY_ADDRESS
    assert found.count(429) == 100 - TRIES_BY_ADDRESS
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers if answer.status_code == 429)


# ---- tokens ----------------------------------------------------------------------------------------------------------


async def test_a_token_brings_no_key_and_no_algorithm_of_its_own(here: Deployment) -> None:
    issued = (await here.http.post("/auth/token", headers=here.admin.headers)).json()["accessToken"]
    header, claims = claims_of(issued)
    jwks: Json = (await here.http.get("/.well-known/jwks.json")).json()
    own = RSAKey.import_key(jwks["keys"][0])
    mine = RSAKey.generate_key(2048)
    embedded = {**mine.as_dict(private=False), "kid": header["kid"]}
    odd: list[tuple[str, str]] = [
        (alg, forge({**header, "alg": alg}, claims, signature))
        for alg in ("none", "None", "NONE", "nOnE", "", "HS256", "ES256", "PS256", "rs256", "RS512")
        for signature in ("", "AAAA", issued.rpartition(".")[2])
    ]
    secrets = {"pem": own.as_pem(private=False), "der": own.as_der(private=False), "n": jwks["keys"][0]["n"].encode()}
    odd += [
        (f"HS256 with {name}", signed_with({**header, "alg": "HS256"}, claims, key)) for name, key in secrets.items()
    ]
    own_words: list[Json] = [
        {"jwk": embedded},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"x5c": ["MIIB"]},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"kid": 7},
        {"kid": None},
        {"kid": ["a"]},
    ]
    odd += [(str(words), jwt.encode({**header, **words}, claims, mine)) for words in own_words if _is_text(words)]
    odd += [(str(words), forge({**header, **words}, claims, "AAAA")) for words in own_words]
    odd += [("detached", forge({**header, "b64": False, "crit": ["b64"]}, claims, issued.rpartition(".")[2]))]
    odd += [("unknown crit", jwt.encode({**header}, {**claims, "iss": "https://elsewhere.example"}, mine))]
    for name, token in odd:
        here.clock.advance(BAD_CREDENTIALS_SECONDS)
        answer = await here.http.get(PROCESSES, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, name
    assert (await here.http.get(PROCESSES, headers={"Authorization": f"Bearer {issued}"})).status_code == 200


def _is_text(words: Json) -> bool:
    return isinstance(words.get("kid", ""), str)


# ---- the address -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/static/%2e%2e/%2e%2e/settings.py",
        "/static/x/..%2f..%2fdoor.py",
        "/static/x/%00",
        "/static/x/live.js%00.css",
        "/code-generation/processes/by-id/%00",
        "/code-generation/processes/by-id/..%2f..%2fusers",
        "/files/by-id/%2e%2e%2f%2e%2e/content",
        "/runs/%00",
        "/runs/1%2f..%2fsettings",
        "/runs/%d9%a1",
        "/runs/99999999999999999999999",
        "/runs/-1",
        "/shared/%00",
        "/shared/" + "a" * 5000,
        "/;/etc/passwd",
        "/\\..\\..\\etc\\passwd",
        "/%ff%fe",
        "/%c0%ae%c0%ae/etc/passwd",
        "/.git/config",
        "/.env",
        "/code-generation/processes/by-id/1/artifacts/..%2f..%2f..%2ftreadle.db/content",
        "/v1/organizations/%31%00/agent/runs",
        "/v1/organizations/1e0/agent/runs",
        "/v1/organizations/0x1/agent/runs",
    ],
)  # fmt: skip
async def test_odd_addresses_lead_nowhere(here: Deployment, path: str) -> None:
    person = await _signed_in(here)
    for send in (here.http.get(path, headers=here.admin.headers), person.get(path)):
        answer = await send
        assert answer.status_code in {303, 307, 400, 401, 403, 404, 405, 422}, (path, answer.status_code)
        assert "root:" not in answer.text


async def test_slashes_too_many_are_no_other_door(here: Deployment) -> None:
    """What joins an address with a slash too many gets what it meant, and nothing that it might not have."""
    for slashes in ("//", "///", "/////"):
        address = httpx2.URL("http://treadle.test").copy_with(raw_path=f"{slashes}settings/keys".encode())
        answer = await here.http.get(address)
        assert answer.status_code == httpx2.codes.SEE_OTHER
        assert answer.headers["Location"].startswith("/sign-in?next=/"), answer.headers["Location"]
        assert not answer.headers["Location"].startswith("/sign-in?next=//"), answer.headers["Location"]


async def test_a_method_is_what_it_says(here: Deployment) -> None:
    sent = {"file": ("a.txt", b"a", "text/plain")}
    file = (await here.http.post("/files", headers=here.admin.headers, files=sent)).json()
    path = f"/files/by-id/{file['id']}"
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        for method in ("GET", "POST", "PUT"):
            await here.http.request(method, path, headers={**here.admin.headers, name: "DELETE"})
    await here.http.post(f"{path}?_method=DELETE", headers=here.admin.headers, data={"_method": "DELETE"})
    assert (await here.http.get(path, headers=here.admin.headers)).status_code == 200
    for method in ("TRACE", "TRACK", "PROPFIND", "DEBUG", "FOO"):
        answer = await here.http.request(method, PROCESSES, headers=here.admin.headers)
        assert answer.status_code == 405
        assert here.admin.key not in answer.text


async def test_a_host_header_is_in_no_link(tmp_path: Path) -> None:
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    async with deployed(tmp_path, public_url="https://treadle.example") as here:
        await here.services.repositories.add(
            here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git"
        )
        asked = {**here.admin.headers, **evil}
        made = await here.http.post(
            "/v1/organizations/1/agent/run", headers=asked, json={"prompt": "x", "model": "dummy"}
        )
        assert made.json()["web_url"].startswith("https://treadle.example/")
        assert "evil" not in made.text
        for path in ("/sign-in", "/nothing", "/openapi.json", DOCS):
            answer = await here.http.get(path, headers=evil)
            assert "evil" not in answer.text + str(answer.headers)
        person = await _signed_in(here, origin="https://treadle.example")
        answer = await person.http.post(
            f"/runs/{made.json()['id']}/share",
            data={"csrf": _csrf(person), "days": "1"},
            headers={**evil, "Origin": "https://treadle.example"},
        )
        assert "https://treadle.example/shared/" in answer.text
        assert "evil" not in answer.text


@pytest.mark.parametrize("host", ['a"><script>', "a b", "evil.example/x", "a@b", "", "a\\b", "[::1", "a:99999999"])
async def test_a_host_that_is_none_is_in_no_link(here: Deployment, host: str) -> None:
    await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git"
    )
    made = await here.http.post(
        "/v1/organizations/1/agent/run",
        headers={**here.admin.headers, "Host": host},
        json={"prompt": "x", "model": "dummy"},
    )
    assert made.json()["web_url"].startswith("http://localhost/"), made.json()["web_url"]


# ---- bodies ----------------------------------------------------------------------------------------------------------

_DEEP = [b"[" * 1_000_000, b'{"a":' * 1_000_000, b'{"steps":' + b"[" * 1_000_000, b"[" * 500_000 + b"]" * 500_000]


async def test_no_nesting_is_too_deep_to_be_refused(here: Deployment) -> None:
    """At every address that takes a body; each within moments, and never as a defect."""
    for method, path in paths_of(here):
        if method not in BODY_METHODS or path.startswith(("/sign-", "/settings", "/repositories/1/")):
            continue
        for content in _DEEP:
            headers = {**here.admin.headers, "Content-Type": "application/json"}
            async with asyncio.timeout(PATIENCE):
                answer = await here.http.request(method, path, headers=headers, content=content)
            assert answer.status_code < 500, (method, path)


async def test_nothing_packed_is_unpacked(here: Deployment) -> None:
    packed = base64.b64decode("H4sIAAAAAAAAA6uuBQBDv6ajAgAAAA==")
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP", "x-gzip"):
        for path in (PROCESSES, "/v1/organizations/1/agent/run", "/files", "/sign-in"):
            headers = {**here.admin.headers, "Content-Encoding": encoding, "Content-Type": "application/json"}
            answer = await here.http.post(path, headers=headers, content=packed)
            assert answer.status_code == 415, (path, encoding)
            assert answer.headers["Accept-Encoding"] == "identity"


def _part(name: str, content: bytes = b"x", headers: bytes = b"") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n%b\r\n%b\r\n' % (name.encode(), headers, content)


async def _in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1 << 16):
        yield content[start : start + (1 << 16)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_part("file") * 2 + b"--b--\r\n", id="two files"),
        pytest.param(b"".join(_part(f"f{number}") for number in range(100_000)) + b"--b--\r\n", id="many parts"),
        pytest.param(_part("file", headers=b"X: " + b"a" * 1_000_000 + b"\r\n") + b"--b--\r\n", id="a long header"),
        pytest.param(_part("file", headers=b"A: b\r\n" * 100_000) + b"--b--\r\n", id="many headers"),
        pytest.param(_part("file") + b"--b--\r\n" + b"a" * 10_000_000, id="much behind the end"),
        pytest.param(b"a" * 1_000_000, id="no part"),
        pytest.param(b"--b\r\n" * 200_000, id="boundaries"),
        pytest.param(_part("file") + b"--b", id="no end"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_forms_of_no_kind(here: Deployment, content: bytes) -> None:
    headers = {**here.admin.headers, "Content-Type": "multipart/form-data; boundary=b"}
    async with asyncio.timeout(PATIENCE):
        answer = await here.http.post("/files", headers=headers, content=_in_pieces(content))
    assert answer.status_code in {400, 413}, answer.text
    assert await here.services.files.list(await here.services.identity.authenticate(here.admin.key), limit=9) == ()
    assert [path for path in (here.settings.data_dir / "blobs").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "a\0b", "\n\r", "--upload-pack=x", "a" * 5000, ".", "..",
     "CON", "a/../../b", "\u202egpj.exe", "~root", "$(id)", "';--", "<script>.html"],
)  # fmt: skip
async def test_a_file_is_called_what_is_safe(here: Deployment, name: str) -> None:
    written = name.replace('"', "%22")
    head = (
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{written}"\r\nContent-Type: text/html\r\n\r\n'
    )
    headers = {**here.admin.headers, "Content-Type": "multipart/form-data; boundary=b"}
    answer = await here.http.post("/files", headers=headers, content=f"{head}a\r\n--b--\r\n".encode())
    if answer.status_code == 400:
        return
    file = answer.json()
    assert "/" not in file["name"]
    assert "\\" not in file["name"]
    assert not file["name"].startswith((".", "-"))
    assert file["name"].isprintable()
    assert len(file["name"].encode()) <= 255
    content = await here.http.get(f"/files/by-id/{file['id']}/content", headers=here.admin.headers)
    assert content.headers["Content-Disposition"].startswith("attachment")
    assert "x-evil" not in content.headers
    assert content.headers["X-Content-Type-Options"] == "nosniff"


# ---- what is in the log ----------------------------------------------------------------------------------------------


async def test_no_credential_comes_into_the_log_or_an_error(
    here: Deployment, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from a query, where it should not be, nor from a header, a path or a body."""
    word = "hush" + "0123456789abcdef" * 2
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logged:
        for path in (f"{PROCESSES}?access_token={word}", f"/nothing?key={word}", f"/sign-in?next=/x&token={word}"):
            for headers in (
                {},
                {"X-Api-Key": word},
                {"Authorization": f"Bearer {word}"},
                {"Cookie": f"{COOKIE}={word}"},
            ):
                answer = await here.http.get(path, headers=headers)
                if not path.startswith("/sign-in"):
                    assert word not in answer.text
        await here.http.get(f"/shared/{word}")
        await here.http.post(PROCESSES, headers=here.admin.headers, content=json.dumps(body(gitHttpCredentials=[word])))
        sent = {"by": "password", "email": "admin@localhost", "password": word}
        answer = await _browser(here).send("/sign-in", sent)
        assert word not in answer.text
        await here.store.close()  # from here on everything is a defect
        monkeypatch.setattr(here.services.sharing, "open", _broken)
        for path in (f"{PROCESSES}?access_token={word}", f"/shared/{word}"):
            answer = await here.http.get(path, headers={"X-Api-Key": word})
            assert answer.status_code >= 500, path
            assert word not in answer.text
    assert logged
    for line in logged:
        line.pop("exc_info", None)
        assert word not in repr(line), line["event"]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx2")]  # the client's
    assert word not in "\n".join(ours)


async def _broken(_token: str) -> None:
    raise RuntimeError("A defect.")


# ---- where the service is sent ---------------------------------------------------------------------------------------

#: Spellings of this machine, of its network, and of clouds' metadata. `{port}`: where somebody listens.
INWARD = (
    "http://127.0.0.1:{port}/a/b.git",
    "http://127.1:{port}/a/b.git",
    "http://2130706433:{port}/a/b.git",
    "http://0x7f000001:{port}/a/b.git",
    "http://0x7f.0.0.1:{port}/a/b.git",
    "http://0177.0.0.1:{port}/a/b.git",
    "http://017700000001:{port}/a/b.git",
    "http://0:{port}/a/b.git",
    "http://0.0.0.0:{port}/a/b.git",
    "http://127.127.127.127:{port}/a/b.git",
    "http://localhost:{port}/a/b.git",
    "http://localhost.:{port}/a/b.git",
    "http://LOCALHOST:{port}/a/b.git",
    "http://127.0.0.1.:{port}/a/b.git",
    "http://[::1]:{port}/a/b.git",
    "http://[::]:{port}/a/b.git",
    "http://[::ffff:127.0.0.1]:{port}/a/b.git",
    "http://[::ffff:7f00:1]:{port}/a/b.git",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/a/b.git",
    "http://[::127.0.0.1]:{port}/a/b.git",
    "http://[64:ff9b::127.0.0.1]:{port}/a/b.git",
    "http://[2002:7f00:1::]:{port}/a/b.git",
    "http://①②⑦.⓪.⓪.①:{port}/a/b.git",
    "http://127。0。0。1:{port}/a/b.git",
    "http://xn--127001-9d7b:{port}/a/b.git",
    "http://user@127.0.0.1:{port}/a/b.git",
    "http://github.com@127.0.0.1:{port}/a/b.git",
    "http://github.com:80@127.0.0.1:{port}/a/b.git",
    "http://127.0.0.1:{port}#@github.com/a/b.git",
    "http://127.0.0.1:{port}?@github.com/a/b.git",
    "http://127.0.0.1:{port}\\@github.com/a/b.git",
    "http://127.0.0.1%00.github.com:{port}/a/b.git",
    "http://127.0.0.1%2egithub.com:{port}/a/b.git",
    "https://127.0.0.1:{port}/a/b.git",
    "ssh://git@127.0.0.1:{port}/a/b.git",
    "ssh://git@localhost:{port}/a/b.git",
    "git@127.0.0.1:a/b.git",
    "ssh://-oProxyCommand=nc@127.0.0.1:{port}/a",
    "git://127.0.0.1:{port}/a/b.git",
    "gopher://127.0.0.1:{port}/_a",
    "dict://127.0.0.1:{port}/a",
    "ftp://127.0.0.1:{port}/a/b.git",
    "ext::sh -c touch% /tmp/a",
    "fd::17/a",
    "file:///etc",
    "file://127.0.0.1/etc",
    "/etc",
    "http://169.254.169.254/latest/meta-data",
    "http://[fd00:ec2::254]/latest",
    "http://168.63.129.16/a/b.git",
    "http://100.100.100.200/a/b.git",
    "http://192.0.0.192/a/b.git",
    "http://10.0.0.1/a/b.git",
    "http://172.16.0.1/a/b.git",
    "http://192.168.1.1/a/b.git",
    "http://100.64.0.1/a/b.git",
    "http://[fe80::1]/a/b.git",
    "http://[fec0::1]/a/b.git",
    "http://224.0.0.1/a/b.git",
    "http://255.255.255.255/a/b.git",
)


class Listener:
    """Somebody on this machine who was never to be asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked = 0


@contextmanager
def listening(address: str = "0.0.0.0") -> Iterator[Listener]:
    with ExitStack() as stack:
        while True:
            bound = stack.enter_context(socket.socket())
            bound.bind((address, 0))
            other = stack.enter_context(socket.socket(socket.AF_INET6))
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            with suppress(OSError):  # somebody has the other port of that number
                other.bind(("::", bound.getsockname()[1]))
                break
        bound.listen()
        other.listen()
        found = Listener(bound.getsockname()[1])
        yield found
        for each in (bound, other):
            each.setblocking(False)
            try:
                each.accept()[0].close()
            except BlockingIOError:
                continue
            found.asked += 1


def _browser(here: Deployment) -> Person:
    transport = httpx2.ASGITransport(app=here.app, raise_app_exceptions=False)
    return Person(httpx2.AsyncClient(transport=transport, base_url=HOST))


async def _signed_in(here: Deployment, *, origin: str = HOST) -> Person:
    person = _browser(here)
    answer = await person.send("/sign-in", {"by": "key", "key": here.admin.key}, Origin=origin)
    assert answer.status_code == httpx2.codes.SEE_OTHER
    if origin.startswith("https"):  # the cookie is for https alone, and this test speaks http
        token = answer.headers["Set-Cookie"].partition(f"{COOKIE}=")[2].partition(";")[0]
        person.http.headers["Cookie"] = f"{COOKIE}={token}"
    return person


def _csrf(person: Person) -> str:
    return csrf_of(person.token or person.http.headers["Cookie"].partition("=")[2])


@pytest.mark.parametrize("url", INWARD)
async def test_no_address_leads_inward(here: Deployment, url: str) -> None:
    """As the address of a repository, of its forge, and of a run: refused, or refused by whoever would connect."""
    person = await _signed_in(here)
    with listening() as listener:
        url = url.replace("{port}", str(listener.port))
        answer = await person.post("/repositories", name="a/b", url=url, credentials="none")
        assert answer.status_code == 400, answer.text
        forge_api = url.replace("/a/b.git", "/api/v4")
        answer = await person.post(
            "/repositories",
            name="a/b",
            url="https://192.0.2.1/a/b.git",
            credentials="none",
            forge="gitlab",
            forge_api_url=forge_api,
            forge_token="word",
        )
        assert answer.status_code == 400, answer.text
        assert await here.services.repositories.list(1) == ()
        made = await here.http.post(PROCESSES, headers=here.admin.headers, json=body(gitUrl=url))
        if made.status_code != 400:
            assert made.status_code == 200
            await _work(here, url)
    assert listener.asked == 0


async def _work(here: Deployment, url: str) -> None:
    """As a worker does: raises nothing but that the host is refused, or is none."""
    rules = AccessRules(
        known_hosts=here.settings.data_dir / "known_hosts",
        memory=None,
        allow_local=here.settings.allow_local_repositories,
        allow_private_hosts=here.settings.allow_private_hosts,
        seconds=5,
    )
    with pytest.raises(GitError):
        async with rules.open(parse(url), here.admin.organization.uuid, GitCredentials()):
            pass


async def test_a_name_that_leads_elsewhere_the_second_time_gains_nothing(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what was checked is what is connected to. The name leads to 127.0.0.2, taken for public here, when
    it is checked, and to 127.0.0.1 for whoever looks it up again."""
    looked_up = list[str]()
    real = socket.getaddrinfo

    def rebinding(host: str, port: Any, *arguments: Any, **named: Any) -> Any:
        if host != "localhost":
            return real(host, port, *arguments, **named)
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr("treadle.workspace.hosts.is_public", lambda address: str(address) == "127.0.0.2")
    person = await _signed_in(here)
    with listening("127.0.0.1") as listener:
        url = f"http://localhost:{listener.port}/a/b.git"
        answer = await person.post("/repositories", name="a/b", url=url, credentials="none")
        assert answer.status_code == 400
    assert looked_up
    assert listener.asked == 0
