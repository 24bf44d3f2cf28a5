"""/repositories: registered, looked at, changed, by those who may; and no secret goes where it was not given for."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.deployment import Deployment, deployed
from tests.support.git_server import GitServer
from tests.support.pages import Pages, Person, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.credentials import GitCredentials
from treadle.domain.identity import Role
from treadle.domain.repository import ForgeAccess, ForgeKind, Repository, SandboxStatus, SetupStatus
from treadle.web.pages import repositories

pytestmark = pytest.mark.anyio
PATH = "/repositories"
URL = "https://git.example/acme/shop.git"
SECRET = "canary-of-the-password"


@pytest.fixture
def git() -> Iterator[GitServer]:
    with GitServer(username="ada", password=SECRET) as server:
        server.create("acme/shop", {"README.md": "# Shop\n"}, branch="trunk")
        yield server


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    """Where the hosts of tests may be reached."""
    async with deployed(tmp_path, allow_private_hosts=True) as here, looking(here, repositories) as pages:
        yield pages


async def registered(here: Deployment, name: str = "acme/shop", url: str = URL, **more: Any) -> Repository:
    return await here.services.repositories.add(here.admin.organization, name=name, url=url, **more)


async def found(here: Deployment, repository: Repository) -> Repository:
    return await here.store.repository(1, repository.id)


def wanted(git: GitServer, **more: str) -> dict[str, str]:
    return {"url": git.url("acme/shop"), "credentials": "http", "http": f"ada:{SECRET}", **more}


# ---- who may what


def forms(id_: int) -> dict[str, tuple[dict[str, str], set[Role]]]:
    """Every form, with what changes nothing that another one of them needs, and who may send it."""
    of = {Role.MANAGER, Role.ADMIN}
    one = f"{PATH}/{id_}"
    return {
        PATH: ({"url": "/nowhere"}, of),
        f"{one}/setup": ({"commands": "make"}, of),
        f"{one}/generate": ({"prompt": ""}, of),
        f"{one}/rules": ({"rules": "Be brief."}, of),
        f"{one}/address": ({"url": "/nowhere"}, of),
        f"{one}/checks": ({"retry_count": "3", "rows": "0"}, {Role.ADMIN}),
        f"{one}/check": ({}, of),
        f"{one}/default": ({}, {Role.ADMIN}),
        f"{one}/remove": ({"name": "another"}, of),
        f"{one}/executions/1/analyze": ({}, set(Role)),
    }


async def test_each_role_may_what_the_table_says(there: Pages) -> None:
    repository = await registered(there.here, url="http://127.0.0.1:1/acme/shop.git")
    for role, person in (await roles_of(there)).items():
        for path in (PATH, f"{PATH}/{repository.id}"):
            assert (await person.get(path)).status_code == 200
        page = (await person.get(f"{PATH}/{repository.id}")).text
        new = await person.get(f"{PATH}/new")
        assert new.status_code == (403 if role is Role.MEMBER else 200)
        for path, (fields, allowed) in forms(repository.id).items():
            answer = await person.post(path, **fields)
            assert (answer.status_code == 403) is (role not in allowed), (role, path, answer.status_code)
            if path != PATH and "executions" not in path and not path.endswith("/default"):
                assert (f'action="{path}"' in page) is (role in allowed), (role, path)
    stranger = await there.anybody().get(f"{PATH}/{repository.id}?show=branches")
    assert stranger.headers["location"] == f"/sign-in?next={PATH}/{repository.id}%3Fshow%3Dbranches"


async def test_only_our_own_forms_count(there: Pages) -> None:
    repository = await registered(there.here)
    person = await there.signed_in()
    for path, (fields, _) in forms(repository.id).items():
        await refuses_forged(person, path, fields)
    assert await found(there.here, repository) == repository


async def test_others_organizations_are_out_of_reach(there: Pages) -> None:
    other = await there.here.services.identity.add_organization("Foreign")
    theirs = await there.here.services.repositories.add(other, name="theirs/secret", url=URL)
    person = await there.signed_in()
    assert "theirs/secret" not in (await person.get(PATH)).text
    assert (await person.get(f"{PATH}/{theirs.id}")).status_code == 404
    for path, (fields, _) in forms(theirs.id).items():
        if path != PATH:
            given = {**fields, "url": "https://git.example/x.git"} if "url" in fields else fields
            answer = await person.post(path, **given)
            # An analysis is of an execution; there is none, and the page that would say so is not there either.
            assert answer.status_code == 404, path
    assert (await there.here.store.repository(other.id, theirs.id)) == theirs


# ---- the list


async def test_the_list_is_searched_and_paged(there: Pages) -> None:
    for number in range(53):
        await registered(there.here, f"acme/r{number:02}", f"https://git.example/acme/r{number:02}.git")
    person = await there.signed_in()
    first = text(await person.get(PATH))
    assert "acme/r00 default" in first
    assert "Page 1 of 2" in first
    assert "acme/r52" in text(await person.get(f"{PATH}?page=2"))
    assert "Page 2 of 2" in text(await person.get(f"{PATH}?page=99"))
    assert "Page 1 of 2" in text(await person.get(f"{PATH}?page=-1"))
    one = text(await person.get(f"{PATH}?q=R07+git.example"))
    assert "acme/r07" in one
    assert "acme/r08" not in one
    none = await person.get(f"{PATH}?q=%3Cscript%3E%E2%80%AE")
    assert "<script>" not in none.text.split("<main")[1]
    assert "No repository has" in text(none)


# ---- registered


async def test_a_repository_is_registered_when_it_can_be_reached(there: Pages, git: GitServer) -> None:
    person = await there.signed_in()
    answer = await person.post(PATH, **wanted(git))
    assert answer.status_code == 303, text(answer)
    made = (await there.here.services.repositories.list(1))[0]
    assert answer.headers["location"] == f"{PATH}/{made.id}?done=registered"
    assert (made.name, made.default_branch, made.url) == ("acme/shop", "trunk", git.url("acme/shop"))
    page = await person.get(answer.headers["location"])
    assert "It can be reached." in text(page) or "it can be reached" in text(page)
    assert "user and password, or a token" in text(page)
    assert SECRET not in page.text
    assert "Look them up" in text(page)
    git.commit("acme/shop", {"a": "b"}, branch="feature/<b>")
    assert "feature/<b>" in text(await person.get(f"{PATH}/{made.id}?show=branches"))


async def test_an_address_may_hold_the_credentials_and_is_shown_without(there: Pages, git: GitServer) -> None:
    person = await there.signed_in()
    url = git.url("acme/shop").replace("://", f"://ada:{SECRET}@")
    answer = await person.post(PATH, url=url, credentials="http", http="x:y", name="acme/own")
    assert list(field_errors(answer)) == ["new-http"]  # two ways at once
    answer = await person.post(PATH, url=url, credentials="none", name="acme/own")
    assert answer.status_code == 303, text(answer)
    page = await person.get(answer.headers["location"])
    assert SECRET not in page.text
    assert git.url("acme/shop") in page.text


async def test_what_cannot_be_reached_is_not_kept(there: Pages, git: GitServer) -> None:
    person = await there.signed_in()
    for fields, said in (
        (wanted(git, http="ada:wrong"), "did not accept the credentials"),
        ({"url": git.url("acme/shop")}, "Give user:password or a token."),
        (wanted(git, url=git.url("acme/none")), "not found"),
        (wanted(git, branch="nope"), "has no branch nope"),
        ({"url": "http://127.0.0.1:1/acme/shop.git"}, "127.0.0.1"),
    ):
        answer = await person.post(PATH, **fields)
        assert answer.status_code == 400, fields
        assert said in text(answer), text(answer)
        assert SECRET not in answer.text
        assert "ada:wrong" not in answer.text
        assert f'value="{fields["url"]}"' in answer.text
        assert "treadle admin" not in answer.text
    assert await there.here.services.repositories.list(1) == ()


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"url": ""}, ["new-url"]),
        ({"url": "ext::sh -c id"}, ["new-url"]),
        ({"url": "--upload-pack=id"}, ["new-url"]),
        ({"url": "x" * 20_000}, ["new-url"]),
        ({"url": URL, "name": "shop"}, ["new-name"]),
        ({"url": "https://git.example/shop"}, ["new-name"]),
        ({"url": URL, "branch": "-x"}, ["new-branch"]),
        ({"url": URL, "credentials": "http"}, ["new-http"]),
        ({"url": URL, "credentials": "ssh"}, ["new-ssh_key"]),
        ({"url": "git@git.example:acme/shop", "credentials": "ssh", "ssh_key": "no key"}, ["new-ssh_key"]),
        ({"url": URL, "forge": "nobody"}, ["new-forge"]),
        ({"url": URL, "forge_token": "x"}, ["new-forge"]),
        ({"url": URL, "forge": "gitea", "forge_api_url": "file:///etc"}, ["new-forge_api_url"]),
        ({"url": URL, "forge": "gitea", "forge_token": "x y"}, ["new-forge_token"]),
    ],
)
async def test_faults_stand_beside_their_fields(there: Pages, fields: dict[str, str], wrong: list[str]) -> None:
    answer = await (await there.signed_in()).post(PATH, **fields)
    assert answer.status_code == 400
    assert list(field_errors(answer)) == wrong
    assert await there.here.services.repositories.list(1) == ()


async def test_a_name_that_is_taken_is_said(there: Pages, git: GitServer) -> None:
    await registered(there.here)
    answer = await (await there.signed_in()).post(PATH, **wanted(git))
    assert answer.status_code == 409
    assert "acme/shop" in text(answer)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/acme/shop.git",
        "http://localhost:{port}/acme/shop.git",
        "http://[::ffff:127.0.0.1]:{port}/acme/shop.git",
        "ssh://git@127.0.0.1:{port}/acme/shop.git",
        "git@127.0.0.1:acme/shop.git",
        "http://169.254.169.254/acme/shop",
        "{path}",
        "file://{path}",
    ],
)
async def test_a_web_user_reaches_nothing_private(tmp_path: Path, git: GitServer, url: str) -> None:
    """As the settings say; on the operator's own command they count for other addresses."""
    port = httpx2.URL(git.url("acme/shop")).port
    address = url.format(port=port, path=git.path("acme/shop"))
    async with deployed(tmp_path) as here, looking(here, repositories) as pages:
        person = await pages.signed_in()
        git_requests = len(git.requests)
        answer = await person.post(PATH, url=address, name="acme/shop", credentials="none")
        assert answer.status_code == 400
        assert "private address" in text(answer) or "Local repositories are not allowed" in text(answer)
        assert len(git.requests) == git_requests
        assert await here.services.repositories.list(1) == ()
        known = await registered(here)
        answer = await person.post(f"{PATH}/{known.id}/address", url=address, credentials="none")
        assert answer.status_code == 400
        assert await found(here, known) == known


async def test_local_ones_are_taken_where_the_service_allows_them(tmp_path: Path, git: GitServer) -> None:
    async with deployed(tmp_path, allow_local_repositories=True) as here, looking(here, repositories) as pages:
        answer = await (await pages.signed_in()).post(PATH, url=str(git.path("acme/shop")))
        assert answer.status_code == 303, text(answer)


# ---- changed


async def secrets_of(here: Deployment, repository: Repository) -> GitCredentials:
    return await here.services.repositories.credentials(await found(here, repository), here.admin.organization.uuid)


async def test_credentials_stay_with_the_host_that_they_were_given_for(there: Pages, git: GitServer) -> None:
    """Who may change an address, and see no secret, must not have the secret sent to a host of their own."""
    here = there.here
    given = GitCredentials(http=f"ada:{SECRET}")
    repository = await registered(here, url=git.url("acme/shop"), default_branch="trunk", git=given)
    manager = (await roles_of(there))[Role.MANAGER]
    path = f"{PATH}/{repository.id}/address"
    git.create("acme/other", {"a": "b"}, branch="trunk")
    same = await manager.post(path, url=git.url("acme/other"), branch="trunk", credentials="keep")
    assert same.status_code == 303, text(same)
    assert await secrets_of(here, repository) == given
    with GitServer() as evil:
        evil.create("acme/shop", {"a": "b"}, branch="trunk")
        moved = await manager.post(path, url=evil.url("acme/shop"), branch="trunk", credentials="keep")
        assert moved.status_code == 303, text(moved)
        assert all(request.username is None for request in evil.requests)
    assert await secrets_of(here, repository) == GitCredentials()


async def test_credentials_go_to_no_forge_that_they_were_not_given_for(there: Pages, git: GitServer) -> None:
    """The password of the HTTP credentials is the forge's token where there is no other."""
    here = there.here
    given = GitCredentials(http=f"ada:{SECRET}")
    repository = await registered(here, url=git.url("acme/shop"), default_branch="trunk", git=given)
    manager = (await roles_of(there))[Role.MANAGER]
    with GitServer() as evil:
        answer = await manager.post(
            f"{PATH}/{repository.id}/address",
            url=git.url("acme/shop"),
            branch="trunk",
            credentials="keep",
            forge="gitea",
            forge_api_url=evil.url("x").removesuffix("/x.git"),
        )
        assert answer.status_code == 400  # without credentials it cannot be read any more
        assert evil.requests == []
    assert await secrets_of(here, repository) == given


async def test_an_address_is_changed_with_new_credentials(there: Pages, git: GitServer) -> None:
    repository = await registered(there.here, default_branch="trunk")
    person = await there.signed_in()
    answer = await person.post(f"{PATH}/{repository.id}/address", **wanted(git, branch="trunk"))
    assert answer.headers.get("location") == f"{PATH}/{repository.id}?done=address", text(answer)
    assert (await found(there.here, repository)).url == git.url("acme/shop")
    assert await secrets_of(there.here, repository) == GitCredentials(http=f"ada:{SECRET}")
    wrong = await person.post(f"{PATH}/{repository.id}/address", **wanted(git, http="ada:no", branch="trunk"))
    assert wrong.status_code == 400
    assert '<details class="fold spaced" open>' in wrong.text
    assert await secrets_of(there.here, repository) == GitCredentials(http=f"ada:{SECRET}")


async def test_a_forge_is_said_and_taken_away(there: Pages, git: GitServer) -> None:
    repository = await registered(there.here, url=git.url("acme/shop"), default_branch="trunk")
    person, path = await there.signed_in(), f"{PATH}/{repository.id}/address"
    git.password = None
    same = {"url": git.url("acme/shop"), "branch": "trunk", "credentials": "keep"}
    assert (await person.post(path, **same, forge="gitlab")).status_code == 303
    port = httpx2.URL(git.url("x")).port
    assert (await found(there.here, repository)).forge == ForgeAccess(
        ForgeKind.GITLAB, f"http://127.0.0.1:{port}/api/v4"
    )
    assert (await person.post(path, **same)).status_code == 303
    assert (await found(there.here, repository)).forge is None


async def test_setup_commands_rules_and_default_are_set(there: Pages) -> None:
    await registered(there.here, "acme/first", "https://git.example/first")
    repository = await registered(there.here)
    person, path = await there.signed_in(), f"{PATH}/{repository.id}"
    assert (await person.post(f"{path}/setup", commands="npm ci\r\nmake\r\n")).headers["location"].endswith("=setup")
    assert (await person.post(f"{path}/rules", rules="Be\r\nbrief.")).headers["location"].endswith("=rules")
    assert (await person.post(f"{path}/default")).headers["location"].endswith("=default")
    now = await found(there.here, repository)
    assert (now.setup_commands, now.setup_status, now.rules) == ("npm ci\nmake", SetupStatus.READY, "Be\nbrief.")
    page = text(await person.get(f"{path}?done=default"))
    assert "It is the default repository now." in page
    assert "acme/shop default" in page
    for form, field, value in (("setup", "setup-commands", "x" * 70_000), ("rules", "rules-rules", "x" * 70_000)):
        answer = await person.post(f"{path}/{form}", **{field.split("-")[1]: value})
        assert answer.status_code == 400
        assert list(field_errors(answer)) == [field]


async def test_check_suite_settings_are_set_and_others_kept(there: Pages) -> None:
    repository = await registered(there.here)
    await there.here.store.set_check_names(repository.id, ["lint", "tests <b>"])
    person, path = await there.signed_in(), f"{PATH}/{repository.id}"
    page = text(await person.get(path))
    assert "tests <b>" in page
    fields = {"retry_count": "2", "apps": "CI\r\n", "rows": "3", "name-0": "lint", "ignored-0": "1"}
    fields |= {"name-1": "tests <b>", "count-1": "5", "prompt-1": "Read\r\nthe log", "name-2": "new", "count-2": "1"}
    assert (await person.post(f"{path}/checks", **fields)).status_code == 303
    settings = (await found(there.here, repository)).check_suite_settings
    assert (settings.retry_count, settings.ignored_checks, settings.high_priority_apps) == (2, ("lint",), ("CI",))
    assert (settings.retry_counts, settings.custom_prompts) == (
        {"tests <b>": 5, "new": 1},
        {"tests <b>": "Read\nthe log"},
    )
    # One that has no row in the form stays, one whose fields are empty goes.
    await person.post(f"{path}/checks", **{"retry_count": "2", "rows": "1", "name-0": "new"})
    settings = (await found(there.here, repository)).check_suite_settings
    assert (settings.ignored_checks, settings.retry_counts) == (("lint",), {"tests <b>": 5})
    for wrong in ("11", "-1", "many", ""):
        answer = await person.post(f"{path}/checks", retry_count=wrong, rows="0")
        assert answer.status_code == 400
        assert list(field_errors(answer)) == ["checks-retry_count"]


async def test_setup_commands_are_found_out_by_a_run(there: Pages) -> None:
    repository = await registered(there.here, git=GitCredentials(http="token"))
    person = await there.signed_in()
    long = await person.post(f"{PATH}/{repository.id}/generate", prompt="x" * 10_001)
    assert list(field_errors(long)) == ["generate-prompt"]
    answer = await person.post(f"{PATH}/{repository.id}/generate", prompt="Use make")
    assert answer.headers["location"] == "/runs/1"
    page = text(await person.get(f"{PATH}/{repository.id}"))
    assert "being generated" in page
    assert "Find out what has to be run" in page  # among the latest runs


async def test_a_repository_is_removed_when_its_name_is_typed(there: Pages) -> None:
    repository = await registered(there.here)
    person, path = await there.signed_in(), f"{PATH}/{repository.id}/remove"
    assert (await person.post(path, name="acme")).status_code == 400
    assert await found(there.here, repository) == repository
    assert (await person.post(path, name="acme/shop")).headers["location"] == f"{PATH}?done=removed"
    assert (await person.get(f"{PATH}/{repository.id}")).status_code == 404


async def test_access_is_checked_again(there: Pages, git: GitServer) -> None:
    repository = await registered(
        there.here, url=git.url("acme/shop"), default_branch="trunk", git=GitCredentials(http=f"ada:{SECRET}")
    )
    person = await there.signed_in()
    assert "its branch trunk is there" in text(await person.post(f"{PATH}/{repository.id}/check"))
    git.password = "changed"
    page = await person.post(f"{PATH}/{repository.id}/check")
    assert "problem Git:" in text(page)
    assert SECRET not in page.text


# ---- executions


async def execution(there: Pages, who: Person, log: bytes | None) -> tuple[Repository, int]:
    """A run of `who`, and its setup commands, which failed."""
    here = there.here
    repository = await registered(here)
    principal = (await here.services.sessions.principal(who.token)) or pytest.fail("signed out")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=here.app), base_url="http://treadle.test") as http:
        _, key = await here.services.identity.create_key(principal.principal.email, 1)
        made = await http.post(
            "/code-generation/processes",
            headers={"X-Api-Key": key},
            json={"gitUrl": URL, "branchSource": "main", "branchWork": "w", "steps": [{"step": "Do it"}]},
        )
        assert made.status_code == 200, made.text
    _, fence = await here.claim()
    sandbox = await here.store.add_sandbox(fence, repository.id, "digest", here.clock.now())
    if log is not None:
        await here.blobs.put("a/log", log)
    await here.store.finish_sandbox(
        fence, sandbox.id, SandboxStatus.FAILED, here.clock.now(), exit_code=7, log_blob="a/log" if log else None
    )
    return repository, sandbox.id


async def test_a_log_is_shown_as_text_to_those_who_see_its_run(there: Pages) -> None:
    people = await roles_of(there)
    other = await there.signed_in((await there.here.member("other@treadle.test")).key)
    hostile = b"\x1b[31m<script>alert(1)</script>\n" + "\u202e".encode() + b"x" * 100_000 + b"\nthe end"
    repository, sandbox = await execution(there, people[Role.MEMBER], hostile)
    path = f"{PATH}/{repository.id}/executions/{sandbox}"
    for person in (people[Role.MEMBER], people[Role.MANAGER]):
        assert path in (await person.get(f"{PATH}/{repository.id}")).text
        page = await person.get(path)
        assert "the end" in text(page)
        assert "<script>alert" not in page.text
        assert "exit code 7" in text(page)
        assert "The end of 100.0k bytes" in text(page)
        whole = await person.get(f"{path}?download=1")
        assert whole.content == hostile
        assert whole.headers["content-disposition"] == f'attachment; filename="setup-{sandbox}.log"'
        assert whole.headers["content-type"] == "text/plain; charset=utf-8"
        assert whole.headers["x-content-type-options"] == "nosniff"
    assert path not in (await other.get(f"{PATH}/{repository.id}")).text
    assert (await other.get(path)).status_code == 404
    assert (await other.post(f"{path}/analyze")).status_code == 404
    second = await registered(there.here, "acme/second", "https://git.example/second")
    assert (await people[Role.ADMIN].get(f"{PATH}/{second.id}/executions/{sandbox}")).status_code == 404
    asked = await people[Role.MEMBER].post(f"{path}/analyze")
    assert asked.headers["location"] == "/runs/2"


async def test_a_log_that_is_not_there_is_said(there: Pages) -> None:
    person = await there.signed_in()
    repository, sandbox = await execution(there, person, None)
    path = f"{PATH}/{repository.id}/executions/{sandbox}"
    assert (await person.get(path)).status_code == 409
    answer = await person.post(f"{path}/analyze")
    assert answer.status_code == 409
    assert "No logs available" in text(answer)


async def test_what_others_say_is_text(there: Pages) -> None:
    repository = await registered(there.here)
    hostile = replace(
        repository, description='"><script>alert(1)</script>\u202e', language="<i>", rules="</textarea><b>"
    )
    await there.here.store.update_repository(hostile, None, there.here.clock.now())
    for person in (await roles_of(there)).values():
        for path in (PATH, f"{PATH}/{repository.id}"):
            page = await person.get(path)
            assert "<script>alert" not in page.text
            assert "</textarea><b>" not in page.text
            assert "\u202e" not in page.text
