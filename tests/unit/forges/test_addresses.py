"""Which forge a repository's address leads to."""

import pytest

from treadle.clock import SystemClock
from treadle.domain.errors import ForgeError
from treadle.domain.repository import ForgeAccess, ForgeKind
from treadle.forges import FORGES, access_for, build
from treadle.forges.addresses import place_of
from treadle.settings import Settings

GITHUB = ForgeAccess(ForgeKind.GITHUB, "https://api.github.com")
GITLAB = ForgeAccess(ForgeKind.GITLAB, "https://gitlab.com/api/v4")


@pytest.mark.parametrize(
    ("url", "access"),
    [
        ("https://github.com/acme/demo.git", GITHUB),
        ("https://GitHub.com/acme/demo", GITHUB),
        ("git@github.com:acme/demo.git", GITHUB),
        ("ssh://git@ssh.github.com:443/acme/demo.git", GITHUB),
        ("https://gitlab.com/group/sub/demo.git", GITLAB),
        ("https://codeberg.org/acme/demo", ForgeAccess(ForgeKind.GITEA, "https://codeberg.org/api/v1")),
        ("git@gitea.com:acme/demo.git", ForgeAccess(ForgeKind.GITEA, "https://gitea.com/api/v1")),
        ("https://github.com.example/acme/demo", None),
        ("https://git.example.org/acme/demo", None),
        ("/srv/git/demo.git", None),
        ("-x", None),
        ("", None),
    ],
)
def test_the_forge_of_a_repository(url: str, access: ForgeAccess | None) -> None:
    assert access_for(url) == access


def test_there_is_a_client_of_each_kind() -> None:
    made = build(Settings.load({}), SystemClock())
    assert {kind: forge.kind for kind, forge in made.items()} == {kind: kind for kind in ForgeKind}
    assert set(FORGES) == set(ForgeKind)


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://api.github.com", "api.github.com", ""),
        ("https://gitlab.example:8443/gitlab/api/v4/", "gitlab.example:8443", "/gitlab/api/v4"),
        ("http://[::1]:3000/api/v1", "[::1]:3000", "/api/v1"),
        ("https://[2001:db8::1]/api", "[2001:db8::1]", "/api"),
    ],
)
def test_addresses_of_apis(url: str, authority: str, path: str) -> None:
    place = place_of(url)
    assert (place.authority, place.path) == (authority, path)


@pytest.mark.parametrize("url", ["https://host:99999/", "https://host:x/", "host/api", "https://h/#x"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ForgeError):
        place_of(url)
