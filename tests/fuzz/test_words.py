"""What is one line to whoever writes it: addresses, branches, policies, plans; and what takes secrets out of text."""

import base64
import contextlib
import json

import pytest
import yaml
from tests.support.fuzzing import fuzz
from tests.support.mutations import TOKENS, Mutator

from treadle.domain.errors import InvalidInput
from treadle.domain.git_url import check_branch, check_url, normalize, parse, split_credentials
from treadle.domain.network import NetworkPolicy
from treadle.redaction import MASK, Redactor
from treadle.services.plans import MAX_PASTED_PLAN, parse_pasted_plan, parse_plan

#: In an address, where a secret may stand; no mutation makes another text of it without taking it apart.
SECRET = "planted-9f2c7e"

URLS = (
    f"https://user:{SECRET}@git.example:8443/acme/shop.git",
    f"http://{SECRET}@127.0.0.1/r",
    f"https://{SECRET}:x-oauth-basic@[2001:db8::1]:443/a/b",
    f"ssh://git:{SECRET}@host:2222/o/r",
    "git@host:o/r.git",
    "git@[::1]:o/r.git",
    "file:///srv/a%20repository",
    "/srv/repository",
)
PLAN = """\
repo: https://git.example/acme/shop.git
branch: feature/tests
engine: Claude
steps:
  - Add a word counter
  - {analysis: Review it, structured: true}
  - step: |
      A longer text,
      over two lines
"""
POLICIES = ("allow:example.com,*.example.org:8443", '{"allow": ["example.com", "*.b.test:80"]}', "model", '"full"')
URL_TOKENS = (
    *TOKENS,
    b"://",
    b"::",
    b"https://",
    b"ext::sh -c",
    b"[::1]",
    b":0",
    b":65536",
    b"@@",
    b"%40",
    b"xn--",
    b"~",
)


def test_addresses() -> None:
    def check(mutator: Mutator) -> None:
        url = mutator.text(mutator.random.choice(URLS), *URLS, tokens=URL_TOKENS)
        fault = check_url(url, allow_local=True)
        assert fault is None or SECRET not in fault
        bare, _ = split_credentials(url)
        try:
            location = parse(url)
        except ValueError as error:
            assert SECRET not in str(error)  # noqa: PT017 - most addresses raise nothing
            assert fault is not None
            return
        assert parse(location.url) == location
        assert not location.url.startswith("-")
        assert location.url.isprintable() or not location.url.isascii()
        assert parse(normalize(url)).host == location.host
        assert parse(bare).host == location.host  # the secret was cut where Git cuts it
        if location.scheme in {"http", "https"}:
            assert "@" not in location.authority

    fuzz(6_000, check)


def test_half_a_character_in_a_user() -> None:
    assert split_credentials("ssh://\ud800:x@host/r") == ("ssh://%3F@host/r", None)


@pytest.mark.parametrize("mark", [" ", "?", "#", "\\"])
def test_an_absolute_path_of_the_short_form_is_as_that_of_an_url(mark: str) -> None:
    assert check_url(f"git@host:/srv/a{mark}b", allow_local=False) is not None
    assert check_url(f"git@host:a{mark}b", allow_local=False) is None
    assert check_url("git@host:/", allow_local=False) is not None
    assert check_url("git@[.1]:r", allow_local=False) is not None
    assert normalize("git@host:.git") == "git@host:.git"
    assert parse("git%2Bx@host:/r").url == "ssh://git%252Bx@host/r"


def test_a_port_behind_zeros() -> None:
    assert parse("https://host:0443/r").port == 443
    for digits in ("02999999999", "0" * 5_000 + "70000", "0" * 5_000):
        assert check_url(f"https://host:{digits}/r", allow_local=False) is not None


def test_branches() -> None:
    names = ("feature/tests", "main", "a.b/c-d_e", "größe/語", "release/2026.10")

    def check(mutator: Mutator) -> None:
        name = mutator.text(mutator.random.choice(names), *names)
        fault = check_branch(name)
        if fault is None:
            name.encode()
            assert not name.startswith("-")
            assert not set(name) & set(" ~^:?*[\\\0\n\r\x7f")
            assert all(0 < len(part.encode()) <= 255 and not part.startswith(".") for part in name.split("/"))
        else:
            assert fault.endswith(".")

    fuzz(6_000, check)


def test_network_policies() -> None:
    def check(mutator: Mutator) -> None:
        text = mutator.text(mutator.random.choice(POLICIES), *POLICIES)
        try:
            policy = NetworkPolicy.parse(text)
        except ValueError as error:
            str(error).encode()
        else:
            assert NetworkPolicy.parse(str(policy)) == policy == NetworkPolicy.read(policy.json())
            assert policy.is_within(policy)
        with contextlib.suppress(ValueError):
            NetworkPolicy.read(mutator.value({"allow": ["example.com", "*.b.test:80"]}))

    fuzz(5_000, check)


def test_plans() -> None:
    def check(mutator: Mutator) -> None:
        text = mutator.text(PLAN, "&a [*a, *a]", "!!python/object/apply:os.system [x]", "2026-13-45", "? {a: b}")
        if mutator.random.random() < 0.2:
            text = yaml.safe_dump(mutator.value(yaml.safe_load(PLAN)))
        for read in (parse_plan, parse_pasted_plan):
            with contextlib.suppress(ValueError, InvalidInput):
                plan = read(text)
                assert all(isinstance(step.text, str) for step in plan.steps)

    fuzz(400, check)


@pytest.mark.parametrize(
    "piece", ["[", "{a: ", "- ", "? ", "!!map {", '"', "'", "a: ", "|\n ", "\n", "#", "&a ", "%", "é,"]
)
def test_floods_in_plans(piece: str) -> None:
    """As long as the page takes them, and nested as deeply: told in no time that anybody would notice."""

    def check(_: Mutator) -> None:
        for start in ("steps: ", "", "steps: ["):
            with contextlib.suppress(InvalidInput):
                parse_pasted_plan((start + piece * MAX_PASTED_PLAN)[:MAX_PASTED_PLAN])

    fuzz(1, check)


def test_secrets_in_text() -> None:
    """Whatever stands around a secret, and in whatever form a tool prints it."""
    secrets = ("planted-9f2c7e", 'pa"ss\\wo/rd &<+', "päßwörd-語", "a" * 40 + "+/=", "line one\nline two is long")
    redactor = Redactor(secrets)
    around = json.dumps({"url": "https://u:%41@h/", "out": "a\\nb\\\\n\\u00e9", "base64": "QUJDREVG" * 9}).encode()

    def check(mutator: Mutator) -> None:
        secret = mutator.random.choice(secrets)
        spelled = mutator.random.choice(
            (
                secret,
                json.dumps(secret)[1:-1],
                json.dumps(json.dumps(secret))[3:-3],
                base64.b64encode(secret.encode()).decode(),
                base64.b64encode(b"user:" + secret.encode()).decode(),
            )
        )
        before, after = (mutator.data(around).decode(errors="replace") for _ in range(2))
        text = f"{before} {spelled} {after}"
        found = redactor.text(text)
        assert MASK in found
        for line in secret.splitlines():
            assert line not in found
        if "\n" not in secret:
            assert spelled not in found
        assert redactor.text(found) == found
        redactor.value({"a": [text, {text: text}]})

    fuzz(800, check)


def test_floods_of_almost_secrets() -> None:
    """Text that makes a search go back and forth: no form of a secret is slow to look for."""
    redactor = Redactor(("planted-9f2c7e", 'pa"ss\\wo/rd', "\\" * 30 + "x"))

    def check(mutator: Mutator) -> None:
        piece = mutator.random.choice(
            ("planted-9f2c7", 'pa"ss', "\\", "%25", "\\u005c", "\\\\u00", "cGxhbnRlZ", "pa\\\\\\")
        )
        assert redactor.text(piece * (100_000 // len(piece))) is not None

    fuzz(40, check)
