"""Credentials written down and read, and keys that nobody could use."""

import base64
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from treadle.domain.credentials import ClaudeSource, EngineCredential, GitCredentials, OAuthLicense
from treadle.domain.errors import SealBroken
from treadle.services.credentials import check_ssh_key, decode, encode, git_secrets, read_ssh_key


@pytest.mark.parametrize(
    "credential",
    [
        EngineCredential(),
        EngineCredential(ClaudeSource.CLIENT_API_KEY, api_key="sk-ant-api03-ü\n"),
        EngineCredential(ClaudeSource.CLIENT_LICENSE, license=OAuthLicense("access")),
        EngineCredential(
            ClaudeSource.CLIENT_LICENSE,
            license=OAuthLicense("a", "r", datetime(2026, 10, 1, 9, 30, 0, 125, tzinfo=UTC), ("x", "y"), "max"),
        ),
    ],
)
def test_what_is_written_is_read(credential: EngineCredential) -> None:
    assert decode(encode(credential)) == credential


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"source":"x","apiKey":null,"license":null}', "secret-text"])
def test_other_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SealBroken) as caught:
        decode(text)
    assert "secret-text" not in caught.value.sentence()
    assert caught.value.__cause__ is None


def test_the_kind_that_is_not_given_is_removed() -> None:
    assert git_secrets(GitCredentials(http="t")) == {"git_http": "t", "git_ssh": None}
    assert git_secrets(GitCredentials(ssh_key="k")) == {"git_http": None, "git_ssh": "k"}


def keygen(folder: Path, *options: str) -> str:
    path = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), "-C", "test", *options], check=True)
    return path.read_text(encoding="ascii")


@pytest.mark.parametrize("kind", [("-t", "ed25519"), ("-t", "rsa", "-m", "PEM"), ("-t", "ecdsa", "-m", "PKCS8")])
def test_real_keys_are_taken_with_any_line_ends(tmp_path: Path, kind: tuple[str, ...]) -> None:
    key = keygen(tmp_path, *kind, "-N", "")
    assert check_ssh_key(key) == key
    for spelling in (key, key.rstrip("\n"), key.replace("\n", "\r\n"), f"\n{key}\n"):
        encoded = base64.b64encode(spelling.encode()).decode()
        assert read_ssh_key(encoded) == key
        assert read_ssh_key("\r\n".join(encoded[at : at + 76] for at in range(0, len(encoded), 76))) == key


@pytest.mark.parametrize("kind", [("-t", "ed25519"), ("-t", "rsa", "-m", "PEM"), ("-t", "ecdsa", "-m", "PKCS8")])
def test_a_key_with_a_passphrase_is_refused(tmp_path: Path, kind: tuple[str, ...]) -> None:
    key = keygen(tmp_path, *kind, "-N", "secret")
    with pytest.raises(ValueError, match="protected by a passphrase"):
        check_ssh_key(key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ssh-ed25519 AAAA me@here", "public key"),
        ("ecdsa-sha2-nistp256 AAAA", "public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "public key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "PuTTY"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a private key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n", "not a private key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "not a private key"),
        ("", "not a private key"),
    ],
)
def test_what_is_no_private_key(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        check_ssh_key(text)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize("encoded", ["!", "AAA", "ÄÄÄÄ", base64.b64encode("schlüssel".encode()).decode()])
def test_what_is_no_base64_of_text(encoded: str) -> None:
    with pytest.raises(ValueError, match=r"^Is not base64 of a private key\.$"):
        read_ssh_key(encoded)
