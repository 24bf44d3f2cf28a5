"""Where credentials go, and where connections may."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import (
    GitAuthenticationFailed,
    GitError,
    GitTimedOut,
    HostRefused,
    RepositoryNotFound,
)
from treadle.domain.git_url import parse
from treadle.hosts import is_public
from treadle.workspace import access as subject
from treadle.workspace.access import _over_http, _ssh_environment, http_user_and_password
from treadle.workspace.failures import remote_failure
from treadle.workspace.git import Git, base_environment, last_line, verb
from treadle.workspace.hosts import public_addresses, refuse_private


@pytest.mark.parametrize(
    ("http", "host", "expected"),
    [
        ("ada:pass:word", "h", ("ada", "pass:word")),
        ("token:", "h", ("token", "")),
        (" ghp_x \n", "github.com", ("x-access-token", "ghp_x")),
        ("ATCT", "bitbucket.org", ("x-token-auth", "ATCT")),
    ],
)
def test_users_and_tokens(http: str, host: str, expected: tuple[str, str]) -> None:
    assert http_user_and_password(http, host) == expected


@pytest.mark.parametrize("http", ["", "  ", "a\nb", "a:b\x00", "a\rhost=evil"])
def test_what_no_header_can_hold(http: str) -> None:
    with pytest.raises(GitAuthenticationFailed):
        http_user_and_password(http, "h")


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("https://h/r", ["https://h"]),
        ("https://h:8443/r", ["https://h:8443"]),
        ("http://h/r", ["http://h", "https://h"]),
        ("http://[::1]:81/r", ["http://[::1]:81", "https://[::1]:81", "https://[::1]"]),
    ],
)
def test_credentials_are_for_the_own_host(url: str, origins: list[str]) -> None:
    found = _over_http(parse(url), GitCredentials(http="ada:secret-word"), ())
    helpers = [option for option in found.options if option.startswith("credential.")]
    assert [helper.partition(".helper=")[0] for helper in helpers] == [f"credential.{origin}" for origin in origins]
    assert "secret-word" not in str(found.options)
    assert "secret-word" not in repr(found)
    assert set(found.environment.values()) == {"ada", "secret-word"}


def test_addresses_are_pinned() -> None:
    http = _over_http(parse("https://h/r"), GitCredentials(), ("192.0.2.1", "2001:db8::1"))
    assert http.options == ("-c", "http.curloptResolve=h:443:192.0.2.1,[2001:db8::1]")
    ssh = _ssh_environment(parse("ssh://git@h:2222/r"), Path("/k"), ("192.0.2.1",), None)["GIT_SSH_COMMAND"]
    assert "HostName=192.0.2.1" in ssh
    assert "HostKeyAlias=[h]:2222" in ssh
    assert "IdentityAgent=none" in ssh


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("255.255.255.255", "198.18.0.1", "240.0.0.1", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1"),
    ],
)
def test_private_addresses(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(HostRefused, match="private address"):
        refuse_private("h", ("140.82.112.3", address))


@pytest.mark.parametrize(
    "address", ["140.82.112.3", "2606:50c0:8000::153", "::ffff:140.82.112.3", "64:ff9b::8c52:7003"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_public_in_ipv6(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert is_public(mapped) == is_public(address)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "::1"])
async def test_names_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises(HostRefused):
        await public_addresses(host, 443)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".example"])
async def test_names_that_do_not_resolve(host: str) -> None:
    with pytest.raises(GitError, match="cannot be found"):
        await public_addresses(host, 443)


# ---- what was said ---------------------------------------------------------------------------------------------------

SAID = [
    ("fatal: Authentication failed for 'https://h/r/'", GitAuthenticationFailed),
    ("remote: Invalid username or password.\nfatal: Authentication failed for 'https://h/r/'", GitAuthenticationFailed),
    (
        "error: unable to read askpass response from 'false'\nfatal: could not read Username for 'https://h': x",
        GitAuthenticationFailed,
    ),
    ("fatal: unable to access 'https://h/r/': The requested URL returned error: 403", GitAuthenticationFailed),
    ("remote: Permission to o/r.git denied to ada.\nfatal: unable to access 'x': error: 403", GitAuthenticationFailed),
    ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", GitAuthenticationFailed),
    ("fatal: repository 'https://h/r/' not found", RepositoryNotFound),
    ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", RepositoryNotFound),
    ("fatal: https://h/r/info/refs not valid: is this a git repository?", RepositoryNotFound),
    ("fatal: unable to access 'https://h/r/': The requested URL returned error: 301", HostRefused),
    ("fatal: unable to access 'https://h/r/': Could not resolve host: h", GitError),
    ("fatal: unable to access 'https://h/r/': Operation too slow. Less than 1 bytes/sec", GitTimedOut),
    ("ssh: connect to host h port 22: Connection timed out", GitTimedOut),
    ("something that nobody has ever seen", GitError),
    ("", GitError),
]


@pytest.mark.parametrize(("stderr", "error"), SAID)
def test_every_refusal_has_its_error(stderr: str, error: type[GitError]) -> None:
    found = remote_failure(stderr, parse("https://h/r"), GitCredentials(http="ada:word-of-ada"))
    assert type(found) is error
    assert "https://h/r" in found.message or " h " in found.message
    last = last_line(stderr)
    assert last in found.message or "Could not read from remote" in last


def test_secrets_are_taken_out() -> None:
    said = "fatal: Authentication failed for 'https://ada:s3cret/word@h/r/' s3cret%2Fword"
    found = remote_failure(said, parse("https://h/r"), GitCredentials(http="ada:s3cret/word"))
    assert "s3cret" not in found.sentence()


def test_what_the_remote_says_is_passed_on() -> None:
    told = "remote: \nremote: Support for password authentication was removed.\nremote: See the docs.\n"
    said = told + "fatal: Authentication failed"
    found = remote_failure(said, parse("https://h/r"), GitCredentials())
    assert "Support for password authentication was removed. See the docs" in found.message


# ---- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_nothing_of_the_operators_configuration_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Operator\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Operator")
    made = Git(base_environment({"PATH": "/usr/bin:/bin"}, allow_local=False, follow_redirects=False), 10)
    listed = (await made.out("config", "--list", "--show-origin")).decode()
    assert "Operator" not in listed
    assert {line.partition(":")[0] for line in listed.splitlines()} == {"command line"}
    with pytest.raises(GitError, match="transport 'file' not allowed"):
        await made.run("ls-remote", str(tmp_path))
    with pytest.raises(GitError, match="transport 'ext' not allowed"):
        await made.run("ls-remote", "ext::sh -c true")


def test_finds_the_command_past_its_options() -> None:
    assert verb(("-c", "a=b", "--literal-pathspecs", "diff", "--raw")) == "diff"
    assert verb(()) == ""


def test_tokens_have_a_user_everywhere() -> None:
    assert all(subject.TOKEN_USERS.values())
