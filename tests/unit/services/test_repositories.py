"""Registered repositories."""

import pytest
from tests.support.deployment import Deployment

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import Conflict, InvalidInput, NotFound, SealBroken
from treadle.ids import RandomUuids
from treadle.services.repositories import Repositories
from treadle.services.repository_change import RepositoryChange

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
    other = Repositories(here.store, here.vault, here.clock, new_uuid=RandomUuids())
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
