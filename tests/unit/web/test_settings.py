"""/settings: an ADMIN sets the organization's, everybody their own rules."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.identity import Organization, Role
from treadle.domain.run import EngineName
from treadle.services.organizations import MAX_RULES_BYTES
from treadle.web.pages import settings
from treadle.web.pages.settings import PATH

pytestmark = pytest.mark.anyio

FORMS: dict[str, tuple[dict[str, str], set[Role]]] = {
    f"{PATH}/organization": ({"name": "Shop"}, {Role.ADMIN}),
    f"{PATH}/budgets": ({"max_cost": "0.5", "monthly_cost": ""}, {Role.ADMIN}),
    f"{PATH}/rules": ({"rules": "Be brief."}, {Role.ADMIN}),
    f"{PATH}/my-rules": ({"rules": "Be brief."}, set(Role)),
}


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, settings) as pages:
        yield pages


async def organization(there: Pages) -> Organization:
    return await there.here.services.organizations.get(1)


async def test_each_role_may_what_the_table_says(there: Pages) -> None:
    for role, person in (await roles_of(there)).items():
        page = await person.get(PATH)
        assert page.status_code == 200
        for path, (fields, allowed) in FORMS.items():
            answer = await person.post(path, **fields)
            assert answer.status_code == (303 if role in allowed else 403), (role, path)
            assert (f'action="{path}"' in page.text) is (role in allowed), (role, path)
    assert (await there.anybody().get(PATH)).headers["location"] == f"/sign-in?next={PATH}"


@pytest.mark.parametrize("path", FORMS)
async def test_only_our_own_forms_count(there: Pages, path: str) -> None:
    before = await organization(there)
    await refuses_forged(await there.signed_in(), path, FORMS[path][0])
    assert await organization(there) == before


async def test_an_admin_sets_the_organization(there: Pages) -> None:
    person, here = await there.signed_in(), there.here
    repository = await here.services.repositories.add(
        await organization(there), name="acme/shop", url="https://git.example/acme/shop.git"
    )
    answer = await person.post(
        f"{PATH}/organization",
        name=" Shop & Co ",
        engine="Kimi",
        model="kimi-k2",
        repository=str(repository.id),
        rule_files="1",
    )
    assert answer.headers["location"] == f"{PATH}?done=organization"
    found = await organization(there)
    assert (found.name, found.default_engine, found.default_model) == ("Shop & Co", EngineName.KIMI, "kimi-k2")
    assert (found.is_pr_creation_enabled, found.is_rules_detection_enabled) == (False, True)
    assert found.default_repository_id == repository.id
    page = await person.get(answer.headers["location"])
    assert "The organization is changed." in text(page)
    assert '<option value="Kimi" selected>' in page.text
    assert f'<option value="{repository.id}" selected>acme/shop' in page.text
    await person.post(f"{PATH}/organization", name="Shop")
    found = await organization(there)
    assert (found.default_engine, found.default_model, found.default_repository_id) == (None, None, None)


async def test_faults_stand_beside_their_fields_and_nothing_is_lost(there: Pages) -> None:
    person, before = await there.signed_in(), await organization(there)
    answer = await person.post(f"{PATH}/organization", name="", model="no model", repository="77", pull_requests="1")
    assert answer.status_code == 400
    assert list(field_errors(answer)) == ["general-name", "general-model", "general-repository"]
    assert 'value="no model"' in answer.text
    assert answer.text.count("autofocus") == 1
    assert 'id="general-name" name="name" type="text" value="" aria-describedby="general-name-error"' in answer.text
    for wrong in ({"engine": "Nobody"}, {"repository": "x"}, {"repository": "9" * 40}):
        assert (await person.post(f"{PATH}/organization", name="Shop", **wrong)).status_code == 400
    assert await organization(there) == before


async def test_rules_keep_their_lines(there: Pages) -> None:
    person = await there.signed_in()
    await person.post(f"{PATH}/rules", rules="Test first.\r\n\r\nBe brief.\r\n")
    assert (await organization(there)).rules == "Test first.\n\nBe brief."
    await person.post(f"{PATH}/my-rules", rules="<script>alert(1)</script>")
    page = await person.get(PATH)
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    await person.post(f"{PATH}/rules", rules="")
    assert (await organization(there)).rules is None


async def test_rules_may_be_too_long(there: Pages) -> None:
    person = await there.signed_in()
    for path, field in ((f"{PATH}/rules", "org-rules-rules"), (f"{PATH}/my-rules", "my-rules-rules")):
        answer = await person.post(path, rules="x" * (MAX_RULES_BYTES + 1))
        assert answer.status_code == 400
        assert list(field_errors(answer)) == [field]
        assert "x" * 1000 in answer.text


async def test_a_member_reads_the_organizations_rules(there: Pages) -> None:
    people = await roles_of(there)
    await people[Role.ADMIN].post(f"{PATH}/rules", rules="Be \u202e brief.")
    page = text(await people[Role.MEMBER].get(PATH))
    assert "Be U+202E brief." in page
    assert "An ADMIN sets these." in page


async def test_an_admin_sets_the_budgets(there: Pages) -> None:
    people = await roles_of(there)
    answer = await people[Role.ADMIN].post(f"{PATH}/budgets", max_cost=" $0.50 ", monthly_cost="1234.5")
    assert answer.headers["location"] == f"{PATH}?done=budgets#budgets"
    found = await organization(there)
    assert (found.default_max_cost_usd, found.monthly_cost_usd) == (0.5, 1234.5)
    page = (await people[Role.ADMIN].get(PATH)).text
    assert 'value="0.50"' in page
    assert 'value="1234.50"' in page
    for role in (Role.MANAGER, Role.MEMBER):
        shown = text(await people[role].get(PATH))
        assert "A run that names no budget $0.50 All runs in a month $1,234.50" in shown
    await people[Role.ADMIN].post(f"{PATH}/organization", name="Shop")  # another form leaves them
    assert (await organization(there)).monthly_cost_usd == 1234.5
    await people[Role.ADMIN].post(f"{PATH}/budgets", max_cost="", monthly_cost="0")
    found = await organization(there)
    assert (found.default_max_cost_usd, found.monthly_cost_usd) == (None, 0)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"max_cost": "much"}, {"budgets-max_cost": "Must be an amount in US dollars, such as 0.50."}),
        ({"max_cost": "0,50"}, {"budgets-max_cost": "Must be an amount in US dollars, such as 0.50."}),
        ({"monthly_cost": "-1"}, {"budgets-monthly_cost": "Must be an amount in US dollars, such as 0.50."}),
        ({"monthly_cost": "nan"}, {"budgets-monthly_cost": "Must be an amount in US dollars, such as 0.50."}),
        (
            {"max_cost": "0", "monthly_cost": "1000001"},
            {
                "budgets-max_cost": "Must be from 0.0001 to 1,000,000 US dollars, with at most 4 decimals.",
                "budgets-monthly_cost": "Must be from 0 to 1,000,000 US dollars, with at most 4 decimals.",
            },
        ),
    ],
)
async def test_a_budget_that_cannot_be_is_said(there: Pages, fields: dict[str, str], wrong: dict[str, str]) -> None:
    answer = await (await there.signed_in()).post(f"{PATH}/budgets", **fields)
    assert answer.status_code == 400
    assert field_errors(answer) == wrong
    assert (await organization(there)).default_max_cost_usd is None
