"""Registered repositories."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.support.deployment import Deployment
from tests.support.forge_server import ForgeServer
from tests.support.repositories import BareRepositories

from treadle.cli.repository_reach import RepositoryReach
from treadle.clock import SystemClock
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import (
    BranchNotFound,
    Conflict,
    Forbidden,
    ForgeAuthenticationFailed,
    ForgeError,
    InvalidInput,
    NotFound,
    RepositoryNotFound,
    SealBroken,
)
from treadle.domain.identity import Principal, Role
from treadle.domain.repository import ForgeAccess, ForgeKind, SetupStatus
from treadle.ids import RandomUuids
from treadle.services.organizations import MAX_RULES_BYTES
from treadle.services.repositories import Repositories
from treadle.services.repository_change import RepositoryChange
from treadle.services.repository_faults import MAX_SETUP_BYTES
from treadle.services.repository_reach import Finding

URL = "https://git.example/acme/shop.git"


@pytest.mark.anyio
async def test_one_is_found_however_its_address_is_spelt(here: Deployment) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    made = await repositories.add(organization, name="acme/shop", url=f"{URL}/", default_branch="trunk")
    assert made.id == 1
    assert made.default_branch == "trunk"
    assert await repositories.list(organization.id) == (made,)
    for url in (URL, "https://GIT.EXAMPLE:443/acme/shop", "https://user@git.example/acme/shop.git"):
        assert await repositories.find(organization.id, url) == made
    for url in ("https://git.example/acme/shop2.git", "http://git.example/acme/shop.git", "no address"):
        assert await repositories.find(organization.id, url) is None
    assert await repositories.find(organization.id + 1, URL) is None


@pytest.mark.anyio
async def test_its_credentials_are_sealed_to_it(here: Deployment) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    plain = await repositories.add(organization, name="a/none", url="https://git.example/none")
    assert await repositories.credentials(plain, organization.uuid) == GitCredentials()
    in_url = await repositories.add(organization, name="a/url", url="https://u:p%40@git.example/url")
    assert in_url.url == "https://git.example/url"
    assert await repositories.credentials(in_url, organization.uuid) == GitCredentials(http="u:p@")
    own = await repositories.add(organization, name="a/own", url=URL, git=GitCredentials(http="token"))
    assert await repositories.credentials(own, organization.uuid) == GitCredentials(http="token")
    sealed = await here.store.repository_secrets(own.id)
    assert "token" not in sealed["git_http"]
    with pytest.raises(SealBroken):
        here.vault.open(
            sealed["git_http"], organization=organization.uuid, table="repositories", row=f"{in_url.uuid}/git_http"
        )


@pytest.mark.anyio
async def test_one_that_another_process_registered_is_found_a_second_later(here: Deployment) -> None:
    organization = here.admin.organization
    assert await here.services.repositories.find(organization.id, URL) is None
    other = Repositories(here.store, here.vault, here.clock, audit=here.services.audit, new_uuid=RandomUuids())
    made = await other.add(organization, name="acme/shop", url=URL)
    assert await here.services.repositories.find(organization.id, URL) is None
    here.clock.advance(1)
    assert await here.services.repositories.find(organization.id, URL) == made


@pytest.mark.anyio
async def test_every_fault_is_named(here: Deployment) -> None:
    with pytest.raises(InvalidInput) as caught:
        await here.services.repositories.add(
            here.admin.organization,
            name="shop",
            url="https://u:secret@git.example/r?x",
            default_branch="-main",
            git=GitCredentials(http="a", ssh_key="no key"),
        )
    assert set(caught.value.faults) == {"name", "url", "default_branch", "credentials", "ssh_key"}
    assert "secret" not in caught.value.sentence()
    assert await here.services.repositories.list(1) == ()


@pytest.mark.anyio
async def test_a_name_is_taken_once(here: Deployment) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    await repositories.add(organization, name="acme/shop", url=URL)
    with pytest.raises(Conflict):
        await repositories.add(organization, name="acme/shop", url="https://git.example/other")
    other = await here.services.identity.add_organization("Other")
    assert (await repositories.add(other, name="acme/shop", url="/srv/local.git")).url == "/srv/local.git"


@pytest.mark.anyio
async def test_a_change_counts_for_what_is_given(here: Deployment) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    made = await repositories.add(organization, name="acme/shop", url=URL, git=GitCredentials(http="token"))
    trunk = await repositories.update(organization, "acme/shop", RepositoryChange(default_branch="trunk"))
    assert (trunk.id, trunk.url, trunk.default_branch) == (made.id, URL, "trunk")
    assert await repositories.credentials(trunk, organization.uuid) == GitCredentials(http="token")
    moved = await repositories.update(organization, "acme/shop", RepositoryChange(url="https://git.example/moved"))
    assert await repositories.find(organization.id, URL) is None
    assert await repositories.find(organization.id, "https://git.example/moved") == moved
    assert await repositories.credentials(moved, organization.uuid) == GitCredentials(http="token")
    other = await repositories.update(organization, "acme/shop", RepositoryChange(url="https://u:p@git.example/moved"))
    assert other == moved
    assert await repositories.credentials(other, organization.uuid) == GitCredentials(http="u:p")
    bare = await repositories.update(organization, "acme/shop", RepositoryChange(git=GitCredentials()))
    assert await repositories.credentials(bare, organization.uuid) == GitCredentials()
    with pytest.raises(InvalidInput) as raised:
        await repositories.update(
            organization, "acme/shop", RepositoryChange(url="ext::sh", git=GitCredentials(ssh_key="none"))
        )
    assert set(raised.value.faults) == {"url", "ssh_key"}
    with pytest.raises(NotFound):
        await repositories.update(organization, "acme/none", RepositoryChange(url=URL))


@pytest.mark.anyio
async def test_one_that_is_removed_is_not_found(here: Deployment) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    made = await repositories.add(organization, name="acme/shop", url=URL, git=GitCredentials(http="token"))
    assert await repositories.find(organization.id, URL) == made
    await repositories.remove(organization.id, "acme/shop")
    assert await repositories.find(organization.id, URL) is None
    assert await repositories.list(organization.id) == ()
    with pytest.raises(NotFound):
        await repositories.remove(organization.id, "acme/shop")
    again = await repositories.add(organization, name="acme/shop", url=URL)
    assert again.id != made.id


# ---- which one an agent run is on


async def principal_of(here: Deployment, role: Role = Role.MEMBER) -> Principal:
    member = await here.member(f"{role.lower()}@example.com", role)
    return await here.services.identity.authenticate(member.key)


@pytest.mark.anyio
async def test_the_default_or_the_only_one_is_chosen(here: Deployment) -> None:
    repositories, organizations = here.services.repositories, here.services.organizations
    organization, ada = here.admin.organization, await principal_of(here)
    with pytest.raises(NotFound, match=r"^No repos found in the organization\."):
        await repositories.chosen(ada, None)
    first = await repositories.add(organization, name="a/first", url="https://h/first")
    assert await repositories.chosen(ada, None) == first
    second = await repositories.add(organization, name="a/second", url="https://h/second")
    assert await repositories.chosen(ada, None) == first, "the first has become the default"
    assert await repositories.chosen(ada, second.id) == second
    await repositories.remove(organization.id, "a/first")
    assert (await organizations.get(organization.id)).default_repository_id is None
    assert await repositories.chosen(ada, None) == second
    await repositories.add(organization, name="a/third", url="https://h/third")
    with pytest.raises(NotFound, match="several") as several:
        await repositories.chosen(ada, None)
    assert "repo default" in str(several.value.hint)
    await organizations.save(replace(await organizations.get(organization.id), default_repository_id=second.id))
    assert await repositories.chosen(ada, None) == second


@pytest.mark.anyio
async def test_those_of_others_are_not_found(here: Deployment) -> None:
    repositories, ada = here.services.repositories, await principal_of(here)
    other = await here.services.identity.add_organization("Other")
    theirs = await repositories.add(other, name="a/b", url=URL)
    for attempt in (repositories.get(ada, theirs.id), repositories.chosen(ada, theirs.id), repositories.get(ada, 99)):
        with pytest.raises(NotFound, match=r"^Repository not found\.$"):
            await attempt
    assert await repositories.page(ada, limit=10) == ((), 0)
    made = [await repositories.add(here.admin.organization, name=f"a/{n}", url=f"https://h/{n}") for n in "xyz"]
    assert await repositories.page(ada, limit=2, skip=1) == (tuple(made[1:]), 3)
    nobody = replace(ada, role=None)
    for attempt in (repositories.get(nobody, made[0].id), repositories.chosen(nobody, None)):
        with pytest.raises(Forbidden):
            await attempt


@pytest.mark.anyio
async def test_the_forge_s_token_is_its_own_or_the_password(here: Deployment) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    github = ForgeAccess(ForgeKind.GITHUB, "https://api.github.com")
    for name, git, token, expected in (
        ("none", None, None, None),
        ("bare", GitCredentials(http="bare"), None, "bare"),
        ("pair", GitCredentials(http="user:pass:word"), None, "pass:word"),
        ("own", GitCredentials(http="user:password"), "own", "own"),
    ):
        made = await repositories.add(
            organization, name=f"a/{name}", url=f"https://h/{name}", git=git, forge=github, forge_token=token
        )
        assert await repositories.forge_token(made, organization.uuid) == expected
    sealed = await here.store.repository_secrets(made.id)
    assert sealed.keys() == {"git_http", "forge_token"}
    assert "own" not in sealed["forge_token"].split(":")


# ---- looked at before it is kept: real Git, and a forge on loopback


@dataclass(frozen=True, slots=True)
class Listening(RepositoryReach):
    """The CLI's own way out, which keeps what it is told."""

    told: list[Finding] = field(default_factory=list)

    def tell(self, finding: Finding) -> None:
        self.told.append(finding)


@pytest.fixture
def bare(tmp_path: Path) -> BareRepositories:
    found = BareRepositories(tmp_path / "bare")
    found.root.mkdir()
    found.create("shop", {"README.md": "# Shop\n"}, branch="trunk")
    return found


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with ForgeServer(ForgeKind.GITEA) as server:
        project = server.add("acme/shop")
        project.description = "Sells things."
        project.branches.add("trunk")
        project.checks["trunk"] = ["build", "test"]
        yield server


@pytest.fixture
def reach(here: Deployment) -> Listening:
    settings = here.settings.model_copy(update={"allow_local_repositories": True, "allow_private_hosts": True})
    return Listening(settings, SystemClock())


@pytest.mark.anyio
async def test_what_the_remote_and_the_forge_say_is_kept(
    here: Deployment, bare: BareRepositories, forge: ForgeServer, reach: Listening
) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    made = await repositories.add(
        organization,
        name="acme/shop",
        url=str(bare.path("shop")),
        forge=forge.access,
        forge_token=forge.token,
        reach=reach,
    )
    (kept,) = await repositories.list(organization.id)
    assert (kept.id, kept.default_branch, kept.description) == (made.id, "trunk", "Sells things.")
    assert (kept.visibility, kept.is_archived, kept.forge) == ("private", False, forge.access)
    assert kept.forge_id
    assert set(kept.check_names) == {"build", "test"}
    assert reach.told == []

    forge.projects["acme/shop"].description = None
    forge.projects["acme/shop"].checks["trunk"].append("lint")
    seen = await repositories.check(organization, "acme/shop", reach)
    assert [(finding.part, finding.error) for finding in seen.findings] == [
        ("git", None),
        ("forge", None),
        ("checks", None),
    ]
    (kept,) = await repositories.list(organization.id)
    assert (kept.description, set(kept.check_names)) == (None, {"build", "test", "lint"})


@pytest.mark.anyio
async def test_what_cannot_be_used_is_not_kept(
    here: Deployment, bare: BareRepositories, forge: ForgeServer, reach: Listening
) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    bare.create("empty")
    shop = str(bare.path("shop"))

    async def add(repo: str, *, branch: str | None = None, token: str | None = None) -> None:
        await repositories.add(
            organization,
            name="acme/shop",
            url=str(bare.path(repo)),
            default_branch=branch,
            forge=forge.access,
            forge_token=token,
            reach=reach,
        )

    with pytest.raises(RepositoryNotFound):
        await add("none")
    with pytest.raises(BranchNotFound, match="HEAD means no branch"):
        await add("empty")
    with pytest.raises(BranchNotFound, match="no branch main"):
        await add("shop", branch="main")
    with pytest.raises(ForgeAuthenticationFailed):
        await add("shop", token="another")
    forge.projects["acme/shop"].may_push = False
    with pytest.raises(ForgeError, match="not push"):
        await add("shop", token=forge.token)
    forge.projects["acme/shop"].is_archived = True
    with pytest.raises(ForgeError, match="archived"):
        await add("shop", token=forge.token)
    with pytest.raises(InvalidInput) as caught:
        await repositories.add(organization, name="acme/shop", url=shop, forge_token="a token", reach=reach)
    assert set(caught.value.faults) == {"forge_token"}
    assert await repositories.list(organization.id) == ()
    assert (await here.services.organizations.get(organization.id)).default_repository_id is None


@pytest.mark.anyio
async def test_a_password_that_is_no_token_for_the_forge_is_only_told(
    here: Deployment, bare: BareRepositories, forge: ForgeServer, reach: Listening
) -> None:
    made = await here.services.repositories.add(
        here.admin.organization,
        name="acme/shop",
        url=str(bare.path("shop")),
        git=GitCredentials(http="ada:password"),
        forge=forge.access,
        reach=reach,
    )
    assert made.default_branch == "trunk"
    assert [finding.part for finding in reach.told] == ["forge"]
    assert "password" not in reach.told[0].said


@pytest.mark.anyio
async def test_a_change_is_looked_at_when_access_depends_on_it(
    here: Deployment, bare: BareRepositories, reach: Listening
) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    await repositories.add(organization, name="acme/shop", url=str(bare.path("shop")), reach=reach)
    with pytest.raises(RepositoryNotFound):
        await repositories.update(organization, "acme/shop", RepositoryChange(url=str(bare.path("none"))), reach=reach)
    with pytest.raises(BranchNotFound):
        await repositories.update(organization, "acme/shop", RepositoryChange(default_branch="x"), reach=reach)
    shutil.rmtree(bare.path("shop"))
    changed = await repositories.update(
        organization,
        "acme/shop",
        RepositoryChange(rules="Ours.", description="Sells.", visibility="public", language="Go", is_archived=True),
        reach=reach,
    )
    assert await repositories.list(organization.id) == (changed,)
    assert (changed.rules, changed.description, changed.visibility) == ("Ours.", "Sells.", "public")
    assert (changed.language, changed.is_archived, changed.default_branch) == ("Go", True, "trunk")
    await repositories.update(organization, "acme/shop", RepositoryChange(git=GitCredentials()), reach=reach)
    seen = await repositories.check(organization, "acme/shop", reach)
    assert [finding.part for finding in seen.findings if finding.error is not None] == ["git"]
    bare_again = await repositories.update(organization, "acme/shop", RepositoryChange(rules="", description=""))
    assert (bare_again.rules, bare_again.description, bare_again.language) == (None, None, "Go")


@pytest.mark.anyio
async def test_a_token_stays_with_the_forge_that_it_was_given_for(here: Deployment) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    first, second = (ForgeAccess(ForgeKind.GITEA, f"https://{host}/api/v1") for host in ("one", "two"))
    made = await repositories.add(
        organization, name="acme/shop", url="https://one/acme/shop", forge=first, forge_token="secret"
    )

    async def after(change: RepositoryChange) -> tuple[ForgeAccess | None, str | None]:
        changed = await repositories.update(organization, "acme/shop", change)
        assert changed.id == made.id
        return changed.forge, await repositories.forge_token(changed, organization.uuid)

    assert await after(RepositoryChange(url="https://one/acme/store")) == (first, "secret")
    assert await after(RepositoryChange(git=GitCredentials(http="u:p"))) == (first, "secret")
    assert await after(RepositoryChange(git=GitCredentials())) == (first, "secret")
    assert await after(RepositoryChange(forge=second)) == (second, None)
    assert await after(RepositoryChange(forge=first, forge_token="another")) == (first, "another")
    assert await after(RepositoryChange(url="https://two/acme/shop")) == (None, None)
    assert await after(RepositoryChange(forge=second, forge_token="third")) == (second, "third")
    assert await after(RepositoryChange(forge_token="")) == (second, None)
    assert await after(RepositoryChange(is_without_forge=True)) == (None, None)
    with pytest.raises(InvalidInput) as caught:
        await after(
            RepositoryChange(
                forge=ForgeAccess(ForgeKind.GITEA, "https://u:p@two/api"),
                visibility="secret",
                description="x" * 2001,
                rules="x" * (MAX_RULES_BYTES + 1),
            )
        )
    assert set(caught.value.faults) == {"forge_api_url", "visibility", "description", "rules"}


@pytest.mark.anyio
async def test_setup_commands(here: Deployment) -> None:
    repositories, organization = here.services.repositories, here.admin.organization
    await repositories.add(organization, name="acme/shop", url=URL)
    await repositories.set_setup(organization.id, "acme/shop", "npm ci\nnpm run build\n")
    (kept,) = await repositories.list(organization.id)
    assert (kept.setup_commands, kept.setup_status) == ("npm ci\nnpm run build", SetupStatus.READY)
    with pytest.raises(InvalidInput):
        await repositories.set_setup(organization.id, "acme/shop", "x" * (MAX_SETUP_BYTES + 1))
    await repositories.set_setup(organization.id, "acme/shop", None)
    (kept,) = await repositories.list(organization.id)
    assert (kept.setup_commands, kept.setup_status) == (None, SetupStatus.NONE)
