"""No form in which a tool would print a secret is left."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import assume, given
from hypothesis import strategies as st

from treadle.domain.credentials import ClaudeSource, EngineCredential, GitCredentials, OAuthLicense
from treadle.domain.events import JsonObject
from treadle.domain.run import DUMMY_API_KEY
from treadle.redaction import MASK, Redactor, secrets_of

TOKEN = "ghp_Ab3/x+y=z&9 é😀\"'\\q"  # every awkward character once

secrets = st.text(st.characters(codec="utf-8"), min_size=6, max_size=40).map(str.strip).filter(lambda s: len(s) >= 6)


@given(secret=secrets, before=st.text(max_size=20), after=st.text(max_size=20))
def test_the_secret_itself_goes(secret: str, before: str, after: str) -> None:
    assume(not set(secret) & set("\r\n"))
    assert secret not in Redactor([secret]).text(f"{before}{secret}{after}")


@given(secret=secrets, before=st.binary(max_size=9), after=st.binary(max_size=9), url_safe=st.booleans())
def test_base64_goes_at_every_alignment(secret: str, before: bytes, after: bytes, url_safe: bool) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    code = encode(before + secret.encode() + after).decode()
    left, mask, right = Redactor([secret]).text(f"<{code}>").partition(MASK)
    assert mask == MASK
    # What is left on either side decodes to nothing but the neighbours.
    assert len(left) - 1 <= len(before) * 8 // 6
    assert len(right.rstrip("=>")) <= -(-len(after) * 8 // 6)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: quote(text, safe=""),
        quote,
        quote_plus,
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: "".join(
            f"%{byte:02x}" if byte > 126 or chr(byte) in "/+" else chr(byte) for byte in text.encode()
        ),
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps(json.dumps(text)),
        lambda text: json.dumps(text).replace("/", "\\/"),
        repr,
        ascii,
        html.escape,
        lambda text: base64.encodebytes(text.encode()).decode(),
        lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
        lambda text: base64.b64encode(f"{text}\n".encode()).decode(),
        lambda text: text.encode().hex(),
        lambda text: text.encode().hex().upper(),
        lambda text: f"{text}\n".encode().hex(),
    ],
)
@pytest.mark.parametrize("secret", [TOKEN, "line\twith & tab", "quoted\"by'both", "back\\\\slashes", "plain-token"])
def test_encoded_forms_go(encode: "object", secret: str) -> None:
    assert callable(encode)
    encoded = encode(secret)
    redacted = Redactor([secret]).text(f"> {encoded} <")
    assert MASK in redacted
    assert len(redacted) <= len("> ' *** '\n <") + 8, redacted


@pytest.mark.parametrize("spell", [str.lower, str.upper])
def test_hexadecimal_goes_line_by_line(spell: "object") -> None:
    assert callable(spell)
    secret = "-".join(f"{at:05d}" for at in range(17))
    code = spell(f"{secret}\n".encode().hex())
    lines = [code[at : at + 60] for at in range(0, len(code), 60)]  # `printenv NAME | xxd -p`
    redactor = Redactor([secret])
    assert redactor.text("\n".join(lines)) == "***\n***\n***\n" + spell("***0a")
    assert [redactor.text(line) for line in lines[:3]] == [MASK] * 3
    assert redactor.text(f"ab{code}") == spell("ab***0a").replace("AB", "ab")


@given(secret=secrets)
def test_json_of_it_goes_in_both_spellings(secret: str) -> None:
    assume(not set(secret) & set("\r\n"))
    for ascii_only in (True, False):
        encoded = json.dumps(secret, ensure_ascii=ascii_only)
        assert encoded[1:-1] not in Redactor([secret]).text(encoded)


@given(text=st.text(st.characters(exclude_characters="Z0123456789%"), max_size=200), secret=secrets)
def test_other_text_stays_as_it_is(text: str, secret: str) -> None:
    assume(not set(secret) & set("\r\n"))  # of several lines each is a secret
    redactor = Redactor([f"Zq7{secret}"])
    assume(all(code not in text for code in ("WnE", "pxN", "acT")))  # its base64, by alignment
    assert redactor.text(text) == text


@pytest.mark.parametrize("secret", ["", "a", "git", "  git  "])
def test_a_tiny_secret_shreds_nothing(secret: str) -> None:
    redactor = Redactor([secret])
    assert not redactor
    assert redactor.text("git commit in a git repository") == "git commit in a git repository"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("password pass1 was", "password *** was"),
        ("bypass12 pass12 xpass1", "bypass12 pass12 xpass1"),
        ("http://me:pass1@host", "http://me:***@host"),
        ('{"a":"\\npass1"}', '{"a":"\\n***"}'),
        ("?q=%3Apass1&", "?q=%3A***&"),
    ],
)
def test_a_short_secret_goes_as_a_word_only(text: str, redacted: str) -> None:
    assert Redactor(["pass1"]).text(text) == redacted


def test_the_longer_of_two_wins() -> None:
    assert Redactor(["secret-token", "me:secret-token"]).text("me:secret-token secret-token") == "*** ***"


def _openssh_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _rsa_key() -> str:
    key = generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


@pytest.mark.parametrize("make", [_openssh_key, _rsa_key])
def test_a_private_key_goes_line_by_line_and_encoded(make: "object") -> None:
    assert callable(make)
    key = make()
    redactor = Redactor([key])
    body = [line for line in key.splitlines() if not line.startswith("-----")]
    code = base64.b64encode(key.encode()).decode()
    texts = [
        key,
        key.replace("\n", "\r\n"),
        json.dumps({"key": key}),
        json.dumps(json.dumps(key)),
        "".join(body),
        quote(key),
        *(line for line in body if len(line) >= 8),
    ]
    for text in texts:
        redacted = redactor.text(text)
        for line in body:
            assert len(line) < 8 or line not in redacted
            assert len(line) < 8 or quote(line) not in redacted
        assert MASK in redacted
    assert len(redactor.text(code)) <= len(MASK) + 4
    assert redactor.text(key.encode().hex()) == f"{MASK}0a"
    wrapped = redactor.text(base64.encodebytes(key.encode()).decode())
    assert len(wrapped.replace(MASK, "").replace("\n", "")) <= 12, wrapped  # at most a last line of a few characters


def test_nested_objects_keep_their_shape() -> None:
    value: JsonObject = {"a": ["x TOPSECRET", {"TOPSECRET": 1, "n": None, "b": True, "f": 1.5}], "t": ("TOPSECRET",)}
    assert Redactor(["TOPSECRET"]).object(value) == {
        "a": ["x ***", {"***": 1, "n": None, "b": True, "f": 1.5}],
        "t": ["***"],
    }


@pytest.mark.parametrize("evil", ["\\" * 60_000, "%25" * 20_000, "a" * 60_000, "\\u005c" * 10_000])
@pytest.mark.parametrize("secret", ["a\\\\b\\c" * 5, '"\\"\\"\\"\\"x', "aaaaaaaaaaaaaaab", "\n\\\n\\\n\\x1"])
def test_no_text_makes_the_search_slow(evil: str, secret: str) -> None:
    # Finishing is the assertion: a pattern that backtracks would take hours.
    assert len(Redactor([secret]).text(f"{evil}{secret}x1")) <= len(evil) + len(secret) + 2


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        ("user:password", ("user:password", "password")),
        ("ghp_token", ("ghp_token", "ghp_token")),
        ("ghp_token:x-oauth-basic", ("ghp_token:x-oauth-basic", "ghp_token")),
        ("ghp_token:", ("ghp_token:", "ghp_token")),
        ("x-access-token:ghs_token", ("x-access-token:ghs_token", "ghs_token")),
        ("user:pass:word", ("user:pass:word", "pass:word")),
    ],
)
def test_which_part_of_http_credentials_is_secret(http: str, expected: tuple[str, ...]) -> None:
    assert secrets_of(GitCredentials(http=http)) == tuple(dict.fromkeys(expected))


def test_every_credential_of_a_run_is_collected() -> None:
    license_ = OAuthLicense(access_token="access", refresh_token="refresh")
    engine = EngineCredential(ClaudeSource.CLIENT_LICENSE, api_key=DUMMY_API_KEY, license=license_)
    assert secrets_of(GitCredentials(ssh_key="key"), engine) == ("key", "access", "refresh")
    assert secrets_of() == ()


def test_of_secrets_that_overlap_nothing_is_left() -> None:
    assert Redactor(["abcdefgh", "ghijklmn", "lmnopqrs"]).text("<abcdefghijklmnopqrs abcdefgh>") == "<*** ***>"


def test_many_secrets_cost_no_more_than_those_that_are_there() -> None:
    # Finishing is the assertion: one pattern of all forms takes a minute for this.
    secrets = [f"{at:03d}:" + '&<\\"/' * 250 for at in range(100)]
    text = "\n".join(["x" * 99] * 10_000) + secrets[7]
    redactor = Redactor(secrets)
    for _ in range(3):
        assert redactor.text(text).endswith(f"x{MASK}")


@given(st.lists(secrets, min_size=2, max_size=5), st.text(max_size=9), st.integers(1, 3))
def test_far_and_near_every_place_of_every_secret_is_found(found: list[str], between: str, times: int) -> None:
    assume(not any(set(each) & set("\r\n") for each in found))
    text = (between + "." * 3_000).join(found * times)
    redacted = Redactor(found).text(text)
    assert not any(each in redacted for each in found if set(each) - {"*", "."})
