"""Starting a run at the page: the API's rules beside the fields, and one run however often a form is sent."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from tests.support.deployment import Deployment, deployed
from tests.support.git_server import GitServer
from tests.support.pages import HOST, Pages, Person, field_errors, looking, roles_of, text

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitUnreachable
from treadle.domain.identity import Role
from treadle.domain.network import NetworkPolicy
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run, RunSource
from treadle.domain.validation import ValidationRules
from treadle.ports import RunFilter
from treadle.services.branches import Branches
from treadle.services.budgets import BudgetChange
from treadle.web.door import csrf_of
from treadle.web.pages import new_run, sign_in

pytestmark = pytest.mark.anyio

LEAST = {
    "token": "a-token-of-one-form",
    "repository": "other",
    "url": "https://git.example/acme/shop.git",
    "source": "main",
    "work": "feature/work",
    "step-0": "Write the tests",
    "step-0-kind": "commit",
    "engine": "Claude",
    "action": "start",
}

#: What runs on a repository without a policy may connect to.
USUAL = 'data-usual="the model, and nothing else"'

Files = Sequence[tuple[str, bytes]]


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, sign_in, new_run) as pages:
        yield pages


async def send(person: Person, files: Files = (), /, **more: str | None) -> httpx2.Response:
    """The form as a browser sends it: in parts. None leaves a field out."""
    given = {"csrf": csrf_of(person.token), **LEAST, **more}
    parts: list[tuple[str, tuple[str | None, bytes]]] = [
        (name, (None, value.encode())) for name, value in given.items() if value is not None
    ]
    parts += [("files", (name, data)) for name, data in files] or [("files", ("", b""))]
    return await person.http.post("/runs/new", files=parts, headers={"Accept": "text/html", "Origin": HOST})


async def started(there: Pages, answer: httpx2.Response) -> Run:
    assert answer.status_code == httpx2.codes.SEE_OTHER, (field_errors(answer), text(answer))
    run_id = int(answer.headers["location"].removeprefix("/runs/"))
    return await there.here.store.get_run_seen(run_id, RunFilter(1))


async def runs(here: Deployment) -> list[Run]:
    return [*await here.store.list_runs(RunFilter(1), limit=100)]


async def registered(here: Deployment, name: str = "acme/shop", *, git: GitCredentials | None = None) -> Repository:
    return await here.services.repositories.add(
        here.admin.organization, name=name, url=f"https://git.example/{name}.git", default_branch="develop", git=git
    )


def value(answer: httpx2.Response, name: str) -> str:
    found = re.search(rf'<input[^>]*\bname="{name}"[^>]*\bvalue="([^"]*)"', answer.text) or re.search(
        rf'(?s)<textarea[^>]*\bname="{name}"[^>]*>\n(.*?)</textarea>', answer.text
    )
    assert found is not None, name
    return found[1]


async def test_it_starts_what_was_asked_for(there: Pages) -> None:
    person = await there.signed_in()
    run = await started(
        there,
        await send(
            person,
            [("notes.txt", b"Read me"), ("picture.png", b"\x89PNG")],
            **{
                "step-0": "First\r\nwith two lines",
                "step-1": "  ",
                "step-4": "Look at it",
                "step-4-kind": "analysis",
                "step-4-structured": "1",
                "guidelines": "Small functions.",
                "engine": "Kimi",
                "model": "kimi-k2",
                "http": "user:secret",
                "pull_request": "1",
                "diff": "1",
            },
        ),
    )
    assert [(step.text, step.is_commitable, step.is_structured) for step in run.steps] == [
        ("First\nwith two lines", True, False),
        ("Look at it", False, True),
    ]
    assert (run.git_url, run.branch_source, run.branch_work) == (LEAST["url"], "main", "feature/work")
    assert (run.engine, run.model, run.code_guidelines) == (EngineName.KIMI, "kimi-k2", "Small functions.")
    assert (run.opens_pull_request, run.generate_diff, run.source) == (True, True, RunSource.CHAT)
    names = [(await there.here.store.get_file(each, 1, None)).name for each in run.file_ids]
    assert names == ["notes.txt", "picture.png"]


async def test_a_registered_repository_brings_its_branch_and_credentials(there: Pages) -> None:
    repository = await registered(there.here, git=GitCredentials(http="kept:secret"))
    person = await there.signed_in()
    page = await person.get(f"/runs/new?repository={repository.id}")
    assert value(page, "source") == "develop"
    assert f'<option value="{repository.id}" data-branch="develop" {USUAL} selected>acme/shop</option>' in page.text
    run = await started(
        there,
        await send(person, repository=str(repository.id), url=None, source="", work="", **{"step-0": "Add tests"}),
    )
    assert (run.repository_id, run.branch_source) == (repository.id, "develop")
    assert run.branch_work == f"treadle/{run.id}-add-tests"


FAULTS: Sequence[tuple[Mapping[str, str | None], str, str]] = [
    ({"repository": ""}, "repository", "Is required."),
    ({"repository": "77", "url": None}, "repository", "Is not registered any more. Choose another."),
    ({"url": ""}, "url", "Is required."),
    ({"url": "ext::sh -c id"}, "url", "remote helper"),
    ({"url": "/etc"}, "url", "Local repositories are not allowed here"),
    ({"url": "https://git.example/" + "a" * 10_000}, "url", "Must be at most 10,000 characters."),
    ({"url": "https://a:b@git.example/x.git", "http": "c:d"}, "url", "give them once"),
    ({"http": "a\x07b"}, "http", "Must not hold control characters."),
    ({"http": "x" * 501}, "http", "Must be at most 500 characters."),
    ({"ssh_key": "ssh-ed25519 AAAA"}, "ssh_key", "Is a public key; the private one is needed."),
    ({"ssh_key": "no key"}, "ssh_key", "Is not base64 of a private key."),
    ({"http": "a:b", "ssh_key": "x"}, "http", "Give this or an SSH key, not both."),
    ({"source": ""}, "source", "Is required."),
    ({"source": "a..b"}, "source", "A branch's name holds no '..'."),
    ({"work": "-x"}, "work", "A branch's name does not begin with '-'."),
    ({"work": "main"}, "work", "Must differ from the source branch."),
    ({"work": "x" * 501}, "work", "Must be at most 500 characters."),
    ({"step-0": "   "}, "step-0", "Is required."),
    ({"step-0": "a\0b"}, "step-0", "Must not hold a null character."),
    ({f"step-{at}": "Do it" for at in range(21)}, "step-20", "A run must have 1 to 20 steps, not 21."),
    ({"guidelines": "x" * 10_001}, "guidelines", "Must be at most 10,000 characters."),
    ({"engine": "Abacus"}, "engine", "Must be one of Claude, Kimi, Dummy."),
    ({"model": "no model!"}, "model", "Must be the name of a model"),
    ({"api_key": "with space"}, "api_key", "Must hold only printable ASCII characters and no space."),
]


@pytest.mark.parametrize(("fields", "name", "said"), FAULTS)
async def test_each_fault_is_beside_its_field(
    there: Pages, fields: Mapping[str, str | None], name: str, said: str
) -> None:
    answer = await send(await there.signed_in(), **fields)
    assert answer.status_code == 400
    assert said in field_errors(answer)[f"run-{name}"]
    tag = re.search(rf'(?s)<(?:input|select|textarea)[^>]*\bid="run-{name}"[^>]*>', answer.text)
    assert tag is not None
    assert "autofocus" in tag[0]
    assert answer.text.count("autofocus") == 1
    assert await runs(there.here) == []


async def test_all_faults_are_named_at_once_and_what_was_written_stays(there: Pages) -> None:
    person = await there.signed_in()
    answer = await send(
        person,
        [("kept.txt", b"kept")],
        **{"source": "a b", "work": "c d", "step-0": "", "step-3": "<b>Third</b>", "step-3-kind": "analysis"},
        http="u:canary-secret",
        api_key="canary key",
    )
    assert set(field_errors(answer)) == {"run-source", "run-work", "run-api_key"}
    assert (value(answer, "source"), value(answer, "work")) == ("a b", "c d")
    assert value(answer, "step-1") == "&lt;b&gt;Third&lt;/b&gt;"
    assert "canary" not in answer.text
    assert "Keys and passwords are never sent back" in text(answer)
    assert value(answer, "token") == LEAST["token"]
    file_id = value(answer, "file")
    assert "kept.txt" in text(answer)
    run = await started(there, await send(person, file=file_id))
    assert run.file_ids == (UUID(file_id),)


async def test_credentials_in_an_address_are_not_shown_again(there: Pages) -> None:
    answer = await send(await there.signed_in(), url="https://u:canary@git.example/x.git", source="")
    assert "canary" not in answer.text
    assert value(answer, "url") == "https://git.example/x.git"


async def test_a_form_sent_twice_makes_one_run(there: Pages) -> None:
    person = await there.signed_in()
    files = [("notes.txt", b"Read me")]
    answers = await asyncio.gather(*(send(person, files) for _ in range(3)))
    assert len({(answer.status_code, answer.headers["location"]) for answer in answers}) == 1
    assert len(await runs(there.here)) == 1
    assert len(await there.here.store.list_files(1, None, limit=10)) == 1
    changed = await send(person, work="another")
    assert (await started(there, changed)).branch_work == "another"
    assert len(await runs(there.here)) == 2


async def test_two_forms_make_two_runs(there: Pages) -> None:
    person = await there.signed_in()
    tokens = [value(await person.get("/runs/new"), "token") for _ in range(2)]
    for token in tokens:
        await started(there, await send(person, token=token))
    assert len(await runs(there.here)) == 2


@pytest.mark.parametrize(
    ("action", "texts", "focus"),
    [
        ("add", ["a", "b", "c", ""], 3),
        ("remove-0", ["b", "c"], 0),
        ("remove-2", ["a", "b"], 1),
        ("up-2", ["a", "c", "b"], 1),
        ("down-0", ["b", "a", "c"], 1),
        ("up-0", ["a", "b", "c"], 0),
        ("down-99999", ["a", "b", "c"], 0),
        ("dance", ["a", "b", "c"], 0),
    ],
)
async def test_buttons_work_without_a_script(there: Pages, action: str, texts: list[str], focus: int) -> None:
    answer = await send(
        await there.signed_in(),
        action=action,
        **{"step-0": "a", "step-1": "b", "step-1-kind": "analysis", "step-2": "c", "work": "not checked now.."},
    )
    assert answer.status_code == 200
    form = answer.text.split("<template", 1)[0]
    found = re.findall(r'(?s)<textarea id="run-step-\d+" name="step-\d+"[^>]*>\n(.*?)</textarea>', form)
    assert found == texts
    assert re.search(rf'id="run-step-{focus}"[^>]* autofocus', form)
    kinds = re.findall(r'name="step-(\d+)-kind" value="analysis" checked', form)
    assert kinds == ([str(texts.index("b"))] if "b" in texts else [])
    assert value(answer, "work") == "not checked now.."
    assert await runs(there.here) == []


async def test_a_pasted_plan_fills_in_the_form(there: Pages) -> None:
    repository = await registered(there.here)
    plan = """
repo: https://git.example/acme/shop
branch: feature/top
engine: dummy
guidelines: Be brief.
steps:
  - Add a word counter
  - {analysis: Review it, structured: true}
"""
    person = await there.signed_in()
    answer = await send(person, action="plan", plan=plan, http="u:p")
    assert answer.status_code == 200
    assert f'<option value="{repository.id}" data-branch="develop" {USUAL} selected>' in answer.text
    assert [value(answer, name) for name in ("source", "work", "guidelines", "step-0", "step-1")] == [
        "develop",
        "feature/top",
        "Be brief.",
        "Add a word counter",
        "Review it",
    ]
    assert '<option value="Dummy" selected>' in answer.text
    assert 'name="step-1-structured" value="1" checked' in answer.text
    assert await runs(there.here) == []


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("steps: [", "Is not valid YAML at line 1."),
        ("a: &a [x]\nb: *a", "Must not hold aliases, as at line 2."),
        ("- only steps", "must be a mapping with the key `steps`"),
        ("steps: [{step: a, analysis: b}]", "steps[0]: must have one of `step` and `analysis`."),
        ("branche: x", "branche: is not a key of a plan"),
        ("steps: [a]\nsteps: [b]", "steps: is there more than once, at lines 1, 2"),
        ("[" * 5000, "nested too deeply"),
        ("a: 2001-99-99", "Is not valid YAML."),
        ("x" * 100_001, "Must be at most 100,000 characters."),
    ],
)
async def test_what_is_wrong_with_a_plan_is_said_beside_it(there: Pages, plan: str, said: str) -> None:
    answer = await send(await there.signed_in(), action="plan", plan=plan)
    assert answer.status_code == 400
    assert said in field_errors(answer)["run-plan"]
    assert value(answer, "step-0") == "Write the tests"


async def test_a_run_is_run_again_as_it_was(there: Pages) -> None:
    person = await there.signed_in()
    first = await started(
        there,
        await send(person, [("a.txt", b"a")], work="", **{"step-1": "Look", "step-1-kind": "analysis"}),
    )
    page = await person.get(f"/runs/new?again={first.id}")
    assert [value(page, name) for name in ("url", "source", "work", "step-0", "step-1", "file")] == [
        first.git_url,
        "main",
        "",
        "Write the tests",
        "Look",
        str(first.file_ids[0]),
    ]
    stranger = await there.signed_in((await there.here.member("stranger@treadle.test")).key)
    assert (await stranger.get(f"/runs/new?again={first.id}")).status_code == 404


async def test_files_of_others_are_not_taken(there: Pages) -> None:
    first = await started(there, await send(await there.signed_in(), [("a.txt", b"a")]))
    stranger = await there.signed_in((await there.here.member("stranger@treadle.test")).key)
    run = await started(there, await send(stranger, file=str(first.file_ids[0])))
    assert run.file_ids == ()


async def test_a_file_that_is_too_large_is_named(tmp_path: Path) -> None:
    async with deployed(tmp_path, max_file_bytes=10) as here, looking(here, sign_in, new_run) as pages:
        answer = await send(await pages.signed_in(), [("big.bin", b"x" * 11), ("small.bin", b"x")])
        assert field_errors(answer) == {"run-files": "big.bin: A file may hold at most 10 bytes."}
        assert "small.bin" in text(answer)
        assert len(await here.store.list_files(1, None, limit=10)) == 1


async def test_too_many_files_and_too_large_a_form_are_refused(there: Pages) -> None:
    person = await there.signed_in()
    many = await send(person, [(f"{number}.txt", b"x") for number in range(21)])
    assert many.status_code == 400
    huge = await person.http.post(
        "/runs/new", content=b"", headers={"Origin": HOST, "Content-Length": str(300 << 20), "Accept": "text/html"}
    )
    assert (huge.status_code, "256 MiB" in text(huge)) == (413, True)
    assert await runs(there.here) == []


async def test_only_its_own_form_starts_anything(there: Pages) -> None:
    person = await there.signed_in()
    assert (await send(person, csrf="0" * 64)).status_code == 403
    elsewhere = await person.http.post("/runs/new", data=LEAST, headers={"Origin": "https://evil.example"})
    assert elsewhere.status_code == 403
    anybody = there.anybody()
    assert (await send(anybody)).status_code in {303, 403}
    assert (await anybody.get("/runs/new")).headers["location"] == "/sign-in?next=/runs/new"
    assert await runs(there.here) == []


async def test_members_may_and_who_has_no_role_may_not(there: Pages) -> None:
    member = await there.here.member("member@treadle.test", Role.MEMBER)
    person = await there.signed_in(member.key)
    run = await started(there, await send(person))
    assert run.user_id == member.user.id
    await there.here.services.identity.set_role(1, member.user.id, None)
    there.here.clock.advance(10)
    assert (await send(person, token="another-form-of-mine")).status_code in {303, 403}
    assert len(await runs(there.here)) == 1


async def test_the_allowance_of_the_month_counts(there: Pages) -> None:
    organizations = there.here.services.organizations
    await organizations.save(replace(await organizations.get(1), monthly_runs=1))
    person = await there.signed_in()
    await started(there, await send(person))
    answer = await send(person, token="another-form-of-mine")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert len(await runs(there.here)) == 1


class Remote:
    """services.branches.RemoteBranches: answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.is_asked = asyncio.Event()
        self.go = asyncio.Event()
        self.error: GitUnreachable | None = None

    async def list(self, url: str, _: UUID, git: GitCredentials) -> tuple[str | None, Sequence[str]]:
        self.asked.append((url, git.http))
        self.is_asked.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return "main", ["zeta", "main", "alpha", "develop"]


async def test_branches_are_asked_for_once_with_the_credentials_of_the_repository(there: Pages) -> None:
    here, remote = there.here, Remote()
    repository = await registered(here, git=GitCredentials(http="kept:secret"))
    branches = Branches(here.services.repositories, remote, here.clock)
    session = await here.services.sessions.principal((await there.signed_in()).token)
    assert session is not None
    asking = [asyncio.create_task(branches.of(session.principal, repository.id)) for _ in range(5)]
    await remote.is_asked.wait()
    remote.go.set()
    found = [(await each).names for each in asking]
    assert found == [["develop", "main", "alpha", "zeta"]] * 5
    await branches.of(session.principal, repository.id)
    assert remote.asked == [(repository.url, "kept:secret")]
    here.clock.advance(61)
    remote.error = GitUnreachable("The host cannot be reached.")
    failed = await branches.of(session.principal, repository.id)
    assert (failed.names, failed.said) == ((), "The host cannot be reached.")
    assert len(remote.asked) == 2


async def test_branches_of_a_real_remote(tmp_path: Path) -> None:
    with GitServer(username="ada", password="correct horse") as git:
        git.create("acme/demo", {"README.md": "# Demo"})
        git.commit("acme/demo", {"a.txt": "a"}, branch="feature/one")
        async with deployed(tmp_path, allow_private_hosts=True) as here, looking(here, sign_in, new_run) as pages:
            repository = await here.services.repositories.add(
                here.admin.organization,
                name="acme/demo",
                url=git.url("acme/demo"),
                default_branch="main",
                git=GitCredentials(http="ada:correct horse"),
            )
            person = await pages.signed_in()
            answer = await person.get(f"/runs/new/branches?repository={repository.id}")
            assert answer.json() == {"names": ["main", "feature/one"], "more": 0, "said": None}
            assert (await person.get("/runs/new/branches?repository=99")).status_code == 404
            assert (await pages.anybody().get("/runs/new/branches?repository=1")).status_code == 303


# ---- what it may cost and connect to


async def test_a_run_gets_the_budget_and_the_policy_that_were_asked_for(there: Pages) -> None:
    person = await there.signed_in()
    run = await started(
        there, await send(person, max_cost="$2.50", network="allow", hosts="PKG.test\r\n*.a.example:8443")
    )
    assert (run.max_cost_usd, str(run.network)) == (2.5, "allow:pkg.test,*.a.example:8443")
    page = await person.get(f"/runs/new?again={run.id}")
    assert value(page, "max_cost") == "2.50"
    assert value(page, "hosts") == "pkg.test\n*.a.example:8443"
    assert '<option value="allow" selected>' in page.text
    other = await started(there, await send(person, token="another-token-of-one", network="model", hosts="ignored!"))
    assert (other.max_cost_usd, str(other.network)) == (None, "model")


async def test_the_same_form_with_another_budget_is_another_run(there: Pages) -> None:
    person = await there.signed_in()
    for fields in ({}, {"max_cost": "1"}, {"network": "model"}, {"network": "allow", "hosts": "a.example"}):
        for _ in range(2):
            await started(there, await send(person, **fields))
    assert len(await runs(there.here)) == 4


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"max_cost": "a lot"}, {"run-max_cost": "Must be an amount in US dollars, such as 0.50."}),
        (
            {"max_cost": "0"},
            {"run-max_cost": "Must be from 0.0001 to 1,000,000 US dollars, with at most 4 decimals."},
        ),
        ({"network": "all"}, {"run-network": "Is no network policy."}),
        ({"network": "allow", "hosts": ""}, {"run-hosts": "Name 1 to 100 hosts, one a line."}),
        ({"network": "none"}, {"run-network": "Claude needs its model: `model` is the least."}),
    ],
)
async def test_a_bound_that_cannot_be_is_said_beside_its_field(
    there: Pages, fields: dict[str, str], wrong: dict[str, str]
) -> None:
    answer = await send(await there.signed_in(), **fields)
    assert answer.status_code == 400
    assert field_errors(answer) == wrong
    assert await runs(there.here) == []


async def test_a_member_gets_no_more_than_the_organization_gives(there: Pages) -> None:
    here = there.here
    admin = await here.services.identity.authenticate(here.admin.key)
    await here.services.budgets.set(admin, BudgetChange(0.5, 2.0))
    people = await roles_of(there)
    page = text(await people[Role.MEMBER].get("/runs/new"))
    assert "Empty: $0.50. Left this month: $2.00." in page
    answer = await send(people[Role.MEMBER], max_cost="0.75")
    assert answer.status_code == 400
    assert list(field_errors(answer)) == ["run-max_cost"]
    assert "it takes MANAGER" in field_errors(answer)["run-max_cost"]
    answer = await send(people[Role.MEMBER], network="full")
    assert list(field_errors(answer)) == ["run-network"]
    assert await runs(here) == []
    assert (await started(there, await send(people[Role.MEMBER]))).max_cost_usd == 0.5
    run = await started(there, await send(people[Role.MANAGER], max_cost="0.75", network="full"))
    assert (run.max_cost_usd, str(run.network)) == (0.75, "full")


async def test_what_would_hold_is_shown_for_each_repository(there: Pages) -> None:
    here, admin = there.here, await there.here.services.identity.authenticate(there.here.admin.key)
    repository = await registered(here)
    await here.services.policies.set_network(admin, repository.id, NetworkPolicy.parse("allow:pkg.test"))
    page = await (await there.signed_in()).get(f"/runs/new?repository={repository.id}")
    assert 'data-usual="the model, pkg.test" selected>' in page.text
    assert f'<option value="other" {USUAL}>' in page.text
    assert "Usual here: the model, pkg.test ." in text(page)


async def test_a_plan_brings_its_bounds(there: Pages) -> None:
    plan = "maxCostUsd: 2.5\nnetwork: {allow: [pkg.test]}\nsteps: [Do it]"
    page = await send(await there.signed_in(), action="plan", plan=plan, max_cost="9")
    assert (value(page, "max_cost"), value(page, "hosts")) == ("2.50", "pkg.test")
    page = await send(await there.signed_in(), action="plan", plan="steps: [Do it]", max_cost="9", network="full")
    assert value(page, "max_cost") == "9"
    assert '<option value="full" selected>' in page.text


PLANNED = """
branch: ${{ what }}/top
variables:
  what: {description: What to count}
  how: {default: slowly}
validate: {commands: ["make ${{ what }}"], tries: 1}
steps: ["Count ${{ what }} of ${{ repository.name }} ${{ how }}"]
"""


async def test_a_pasted_plans_variables_are_asked_for_and_put_in(there: Pages) -> None:
    person = await there.signed_in()
    asked = await send(person, action="plan", plan=PLANNED)
    assert (value(asked, "variable-what"), value(asked, "variable-how")) == ("", "slowly")
    assert "What to count" in text(asked)
    assert value(asked, "step-0") == "Write the tests", "nothing is filled in before"
    given = {"action": "plan", "plan": PLANNED, "variable-what": "", "variable-how": "slowly"}
    refused = await send(person, **given)
    assert field_errors(refused) == {"run-variable-what": "is missing: the plan requires it"}
    assert "slowly" in value(refused, "variable-how")
    done = await send(person, **{**given, "variable-what": "words", "variable-how": "well"})
    assert value(done, "step-0") == "Count words of acme/shop well"
    assert (value(done, "work"), value(done, "validate"), value(done, "tries")) == ("words/top", "make words", "1")
    assert "variable-what" not in done.text


async def test_what_a_plan_says_wrongly_of_variables_is_said_beside_it(there: Pages) -> None:
    plan = "steps: ['Do it at ${{ schedule.date }}']"
    answer = await send(await there.signed_in(), action="plan", plan=plan)
    assert (answer.status_code, "schedule.date" in field_errors(answer)["run-plan"]) == (400, True)


async def test_validation_is_asked_for_and_kept_for_another_one(there: Pages) -> None:
    person = await there.signed_in()
    run = await started(there, await send(person, validate="make lint\r\n\r\n make test \r\n", tries="5"))
    assert run.validation == ValidationRules(("make lint", "make test"), 5)
    page = await person.get(f"/runs/new?again={run.id}")
    assert (value(page, "validate"), value(page, "tries")) == ("make lint\nmake test", "5")
    other = await started(there, await send(person, token="another-token-of-one", validate='["a\\nb"]'))
    assert other.validation == ValidationRules(("a\nb",))
    assert "a\\nb" in value(await person.get(f"/runs/new?again={other.id}"), "validate")
    none = await started(there, await send(person, token="a-third-token-of-one", unvalidated="1"))
    assert none.validation == ValidationRules(())
    assert (await started(there, await send(person, token="a-fourth-token-of-one"))).validation is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"validate": "make", "tries": "11"}, "tries"),
        ({"validate": "make", "tries": "-1"}, "tries"),
        ({"validate": "make", "unvalidated": "1"}, "validate"),
        ({"validate": "\n".join(["true"] * 21)}, "validate"),
        ({"validate": '["'}, "validate"),
        ({"validate": "a\x00b"}, "validate"),
    ],
)
async def test_validation_that_is_none_is_refused_beside_it(there: Pages, given: dict[str, str], field: str) -> None:
    answer = await send(await there.signed_in(), **given)
    assert (answer.status_code, [*field_errors(answer)]) == (400, [f"run-{field}"])
