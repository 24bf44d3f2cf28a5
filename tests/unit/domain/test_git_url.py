"""Addresses and branch names, held against what Git itself says."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.domain.git_url import (
    MAX_COMPONENT_BYTES,
    GitLocation,
    check_branch,
    check_url,
    normalize,
    parse,
    split_credentials,
)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://GitHub.com/o/r.git", GitLocation("https", None, "github.com", None, "/o/r.git")),
        ("HTTPS://host:8443/r", GitLocation("https", None, "host", 8443, "/r")),
        ("http://127.0.0.1:81/r", GitLocation("http", None, "127.0.0.1", 81, "/r")),
        ("https://[2001:DB8::1]:8443/r", GitLocation("https", None, "2001:db8::1", 8443, "/r")),
        ("https://me:word@host/r", GitLocation("https", None, "host", None, "/r")),
        ("ssh://git@host:2222/o/r", GitLocation("ssh", "git", "host", 2222, "/o/r")),
        ("ssh://host/r", GitLocation("ssh", None, "host", None, "/r")),
        ("git@host:o/r.git", GitLocation("ssh", "git", "host", None, "o/r.git")),
        ("git@[::1]:o/r.git", GitLocation("ssh", "git", "::1", None, "o/r.git")),
        ("/srv/a repository", GitLocation("file", None, "", None, "/srv/a repository")),
        ("file:///srv/a%20repository", GitLocation("file", None, "", None, "/srv/a repository")),
        ("file://localhost/srv/r", GitLocation("file", None, "", None, "/srv/r")),
    ],
)
def test_takes_an_address_apart(url: str, location: GitLocation) -> None:
    assert parse(url) == location
    assert parse(location.url) == location
    assert check_url(url, allow_local=True) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-uext::sh",
        "--upload-pack=touch /tmp/x",
        "ext::sh -c 'touch /tmp/x'",
        "fd::17/foo",
        "transport::https://host/r",
        "git://host/r",
        "ftp://host/r",
        "git+ssh://host/r",
        "javascript:alert(1)",
        "host:path",
        "owner/repository",
        "./r",
        "../r",
        "~/r",
        "C:\\r",
        "https://",
        "https://host",
        "https://host/",
        "https:///r",
        "https://-host/r",
        "https://host-/r",
        "https://ho st/r",
        "https://ho..st/r",
        "https://host:0/r",
        "https://host:65536/r",
        "https://host:٣/r",
        "https://host:99999999999999999999/r",
        "https://host:http/r",
        "https://münchen.example/r",
        "https://host/r?token=x",
        "https://host/r#x",
        "https://host\\@evil/r",
        "https://host/a\nb",
        "https://host/a%0ab",
        "https://host/a%00",
        "https://host/a\x7f",
        "https://host/\ud800",
        "ssh://-oProxyCommand=touch/r",
        "ssh://-oProxyCommand%3Dtouch/r",
        "ssh://-l@host/r",
        "ssh://%2doProxyCommand@host/r",
        "ssh://git:word@host/r",
        "-oProxyCommand=touch@host:r",
        "git@-oProxyCommand=touch:r",
        "git@host:-r",
        "git@host:",
        "file://other/r",
        "file://",
    ],
)
def test_refuses_what_git_must_not_see(url: str) -> None:
    fault = check_url(url, allow_local=True)
    assert fault
    assert "word" not in fault.replace("password", "")


@pytest.mark.parametrize("url", ["/srv/r", "file:///srv/r"])
def test_local_addresses_need_permission(url: str) -> None:
    assert "not allowed" in (check_url(url, allow_local=False) or "")
    assert "TREADLE_ALLOW_LOCAL_REPOSITORIES=1" in (check_url(url, allow_local=False) or "")


@pytest.mark.parametrize(
    ("url", "clean", "credentials"),
    [
        ("https://host/r", "https://host/r", None),
        ("https://me:word@host:1/r", "https://host:1/r", "me:word"),
        ("https://token@host/r", "https://host/r", "token"),
        ("https://me:p%40ss%3aword@host/r", "https://host/r", "me:p@ss:word"),
        ("https://me:p@ss@host/r", "https://host/r", "me:p@ss"),
        ("https://@host/r", "https://host/r", None),
        ("https://host/a@b", "https://host/a@b", None),
        ("ssh://git@host/r", "ssh://git@host/r", None),
        ("ssh://git:word@host/r", "ssh://git@host/r", None),
        ("git@host:r", "git@host:r", None),
        ("/srv/a@b", "/srv/a@b", None),
        ("https://me:word@-bad host/r", "https://-bad host/r", "me:word"),
    ],
)
def test_splits_credentials_off(url: str, clean: str, credentials: str | None) -> None:
    assert split_credentials(url) == (clean, credentials)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://Host/o/r.git", "HTTPS://host:443/o/r/"),
        ("https://host/o/r", "https://me:word@host/o/r"),
        ("ssh://git@host:22/r.git", "ssh://git@HOST/r"),
        ("git@host:o/r.git", "git@HOST:o/r"),
        ("git@host:/srv/r", "ssh://git@host/srv/r"),
        ("file:///srv/r", "/srv/r/"),
    ],
)
def test_one_repository_normalizes_to_one_text(first: str, second: str) -> None:
    assert normalize(first) == normalize(second)
    assert normalize(normalize(first)) == normalize(first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://host/o/r", "https://host/O/r"),
        ("https://host/o/r", "http://host/o/r"),
        ("https://host/o/r", "https://host:8443/o/r"),
        ("ssh://git@host/o/r", "git@host:o/r"),
        ("/srv/r", "/srv/r.git"),
        ("/srv/r/.git", "/srv/r"),
    ],
)
def test_other_repositories_stay_apart(first: str, second: str) -> None:
    assert normalize(first) != normalize(second)


BRANCH_TEXT = st.lists(
    st.sampled_from([*"ab/.@{}~^:?*[\\- \x00\x1f\x7fé😀", ".lock", "..", "@{", "//", "HEAD", "refs/heads/", "-"]),
    max_size=8,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(BRANCH_TEXT)
def test_branches_are_judged_as_git_judges_them(name: str) -> None:
    if "\x00" in name:  # cannot be an argument
        assert check_branch(name)
        return
    said = [
        subprocess.run(["git", "check-ref-format", *arguments], cwd="/", capture_output=True, check=False).returncode
        for arguments in (["--branch", name], [f"refs/heads/{name}"])
    ]
    assert (check_branch(name) is None) == (said == [0, 0])


@pytest.mark.parametrize("name", ["feature/a-b", "é/ü", "@", "a@", "refs/heads/x", "x" * MAX_COMPONENT_BYTES])
def test_usual_branches_pass(name: str) -> None:
    assert check_branch(name) is None


@pytest.mark.parametrize("name", ["x" * (MAX_COMPONENT_BYTES + 1), "\ud800", "", "HEAD", "-x", "a\nb"])
def test_branches_that_no_repository_could_hold_are_refused(name: str) -> None:
    assert check_branch(name)


def test_the_longest_branch_can_be_made(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path], check=True)
    name = "x" * MAX_COMPONENT_BYTES
    subprocess.run(["git", "-C", tmp_path, "symbolic-ref", "HEAD", f"refs/heads/{name}"], check=True)
    tree = subprocess.run(["git", "-C", tmp_path, "mktree"], input=b"", capture_output=True, check=True).stdout.strip()
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    commit = subprocess.run(
        ["git", *identity, "-C", tmp_path, "commit-tree", "-m", "m", tree.decode()], capture_output=True, check=True
    ).stdout.strip()
    subprocess.run(["git", "-C", tmp_path, "update-ref", f"refs/heads/{name}", commit.decode()], check=True)
