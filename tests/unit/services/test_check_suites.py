"""Check-suite settings: kept, changed in parts, bounded."""

from collections.abc import Sequence

import pytest
from tests.support.deployment import Deployment

from treadle.domain.errors import Forbidden, ForgeError, InvalidInput, NotFound
from treadle.domain.identity import Role
from treadle.domain.repository import CheckSuiteSettings, Repository
from treadle.services.check_suites import CheckSuiteChange, CheckSuites


class Names:
    """A forge that names its checks, fails, and is not asked too often."""

    def __init__(self, *said: Sequence[str] | Exception) -> None:
        self.said = list(said)

    async def check_names(self, repository: Repository) -> Sequence[str]:
        answer = self.said.pop(0) if self.said else repository.check_names
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def suites(here: Deployment) -> CheckSuites:
    await here.services.repositories.add(here.admin.organization, name="acme/shop", url="https://git.example/shop.git")
    await here.store.set_check_names(1, ["build", "lint"])
    return CheckSuites(here.store, here.services.repositories, Names(), here.clock, audit=here.services.audit)


@pytest.mark.anyio
async def test_what_is_not_given_stays(here: Deployment, suites: CheckSuites) -> None:
    admin = await here.services.identity.authenticate(here.admin.key)
    assert (await suites.get(admin, 1)).check_suite_settings == CheckSuiteSettings()
    await suites.update(admin, 1, CheckSuiteChange(retry_count=5, ignored_checks=["a", "b", "a"]))
    await suites.update(
        admin, 1, CheckSuiteChange(retry_counts={"build": 0}, custom_prompts={"lint": "Mind"}, high_priority_apps=["x"])
    )
    expected = CheckSuiteSettings(5, ("a", "b"), {"build": 0}, {"lint": "Mind"}, ("x",))
    found = await suites.get(admin, 1)
    assert found.check_suite_settings == expected
    assert found.check_names == ("build", "lint")
    assert (
        await suites.update(admin, 1, CheckSuiteChange(ignored_checks=[]))
    ).check_suite_settings.ignored_checks == ()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (CheckSuiteChange(retry_count=11), {"check_retry_count"}),
        (CheckSuiteChange(retry_count=-1, retry_counts={"a": 11}), {"check_retry_count", "check_retry_counts"}),
        (CheckSuiteChange(ignored_checks=[str(n) for n in range(501)]), {"ignored_checks"}),
        (CheckSuiteChange(high_priority_apps=["a" * 501]), {"high_priority_apps"}),
        (CheckSuiteChange(custom_prompts={"a": "b" * 10_001}), {"custom_prompts"}),
    ],
)
async def test_limits(here: Deployment, suites: CheckSuites, change: CheckSuiteChange, fields: set[str]) -> None:
    admin = await here.services.identity.authenticate(here.admin.key)
    with pytest.raises(InvalidInput) as refused:
        await suites.update(admin, 1, change)
    assert set(refused.value.faults) == fields
    assert (await suites.get(admin, 1)).check_suite_settings == CheckSuiteSettings()


@pytest.mark.anyio
async def test_the_forge_names_the_checks(here: Deployment, suites: CheckSuites) -> None:
    admin = await here.services.identity.authenticate(here.admin.key)
    names = Names(ForgeError("It is away."), ["unit"], ["more"])
    asking = CheckSuites(here.store, here.services.repositories, names, here.clock, audit=here.services.audit)
    seen = []
    for seconds in (0, 59, 1, 59, 1):
        here.clock.advance(seconds)
        seen.append((await asking.get(admin, 1)).check_names)
    assert seen == [("build", "lint"), ("build", "lint"), ("unit",), ("unit",), ("more",)]


@pytest.mark.anyio
async def test_who_may(here: Deployment, suites: CheckSuites) -> None:
    for role in (Role.MEMBER, Role.MANAGER):
        member = await here.services.identity.authenticate((await here.member(f"{role}@example.com", role)).key)
        assert (await suites.get(member, 1)).id == 1
        with pytest.raises(Forbidden):
            await suites.update(member, 1, CheckSuiteChange(retry_count=1))
    other = await here.services.identity.add_organization("Other")
    stranger = await here.services.identity.authenticate(
        (await here.member("mal@example.com", Role.ADMIN, organization=other)).key
    )
    with pytest.raises(NotFound):
        await suites.get(stranger, 1)
    with pytest.raises(NotFound):
        await suites.update(stranger, 1, CheckSuiteChange(retry_count=1))
