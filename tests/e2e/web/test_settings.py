"""Signing in each way, and everything that is set, in a browser at a real service."""

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.support.browser import Chromium, Person
from tests.support.git_server import GitServer
from tests.support.oidc_provider import OidcProvider
from tests.support.service import Service, step

SECRET = "correct horse"
PASSWORD = "a long enough password"
DAY = 86_400 * 1_000_000


@dataclass(frozen=True)
class House:
    service: Service
    provider: OidcProvider
    git: GitServer


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With a provider to sign in at, and a repository to register."""
    data = tmp_path_factory.mktemp("house") / "data"
    with OidcProvider() as provider, GitServer(username="ada", password=SECRET) as git:
        git.create("acme/shop", {"README.md": "# Shop\n", "Makefile": "all:\n\ttrue\n"})
        git.commit("acme/shop", {"a": "b"}, branch="feature/basket")
        names = {name.upper(): value for name, value in provider.settings.items()}
        with Service(data, **names, OIDC_NAME="Acme Login", SANDBOX="none", SLOTS="2") as service:
            yield House(service, provider, git)


def sign_in_at_provider(person: Person, house: House, subject: str, email: str) -> None:
    house.provider.says = {"sub": subject, "email": email, "email_verified": True}
    person.go("/sign-in?next=/settings/account")
    person.page.get_by_role("link", name="Continue with Acme Login").click()
    expect(person.page).to_have_url(f"{house.service.url}/settings/account")


def test_one_signs_in_each_way(house: House, chromium: Chromium) -> None:
    with chromium.person(house.service.url) as person:
        page = person.page
        person.go("/settings/keys")
        expect(page).to_have_url(re.compile(r"/sign-in\?next=/settings/keys$"))
        person.check("sign-in")
        # A wrong key: said beside the field, which has the focus. All by keyboard.
        person.expect_console("status of 400")
        key = page.get_by_role("textbox", name="API key")
        expect(key).to_be_focused()
        page.keyboard.type("trd_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("This API key is unknown, expired or revoked.")).to_be_visible()
        expect(key).to_be_focused()
        expect(key).to_have_attribute("aria-invalid", "true")
        expect(key).to_have_attribute("aria-describedby", "key-key-error")
        person.check("sign-in-refused")
        page.keyboard.type(house.service.key)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{house.service.url}/settings/keys")
        cookie = next(each for each in page.context.cookies() if each["name"] == "treadle_session")
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        page.get_by_label("Your account").click()
        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_text("You are signed out.")).to_be_visible()
        # At the provider; then a first password, and with that.
        sign_in_at_provider(person, house, "boss", "admin@localhost")
        page.get_by_label("New password").fill(PASSWORD)
        page.get_by_label("The same again").fill(PASSWORD)
        page.get_by_role("button", name="Set password").click()
        expect(page.get_by_text("Your password is set")).to_be_visible()
        person.check("account")
        page.get_by_label("Your account").click()
        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_text("You are signed out.")).to_be_visible()
        page.get_by_role("textbox", name="E-mail").fill("admin@localhost")
        page.get_by_role("textbox", name="Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in with password").click()
        page.wait_for_url("**/runs")


def test_a_stranger_at_the_provider_is_refused(house: House, chromium: Chromium) -> None:
    house.provider.says = {"sub": "stranger", "email": "stranger@treadle.test", "email_verified": True}
    with chromium.person(house.service.url) as person:
        person.expect_console("status of 400")
        person.go("/sign-in")
        person.page.get_by_role("link", name="Continue with Acme Login").click()
        expect(person.page.get_by_text("Nobody with your verified e-mail address is known here.")).to_be_visible()
        person.axe()


def test_a_member_is_added_and_refused_by_role(house: House, chromium: Chromium) -> None:
    with chromium.person(house.service.url) as admin, chromium.person(house.service.url) as member:
        admin.sign_in(house.service.key)
        admin.go("/settings/members")
        page = admin.page
        page.get_by_role("textbox", name="E-mail").fill("ada@treadle.test")
        page.get_by_role("textbox", name="Name").fill("Ada")
        page.get_by_role("button", name="Add member").click()
        key = page.locator("#new-key").inner_text()
        admin.check("members-added")
        page.get_by_role("link", name="Done").click()
        expect(page.get_by_text(key)).to_have_count(0)
        page.get_by_label("Role of ada@treadle.test", exact=True).select_option("MANAGER")
        page.get_by_role("button", name="Change role of ada@treadle.test").click()
        expect(page.get_by_text("The role is changed.")).to_be_visible()
        page.get_by_label("Role of ada@treadle.test", exact=True).select_option("MEMBER")
        admin.follow(page.get_by_role("button", name="Change role of ada@treadle.test"))
        expect(page.get_by_label("Role of ada@treadle.test", exact=True)).to_have_value("MEMBER")
        admin.check("members")
        # The last ADMIN stays.
        admin.expect_console("status of 409")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Remove admin@localhost").click()
        expect(page.get_by_role("alert")).to_contain_text("this is the last one")

        member.sign_in(key)
        member.expect_console("status of 403")
        expect(member.page.get_by_role("link", name="System")).to_have_count(0)
        member.go("/settings/members")
        expect(member.page.get_by_role("button", name="Add member")).to_have_count(0)
        member.check("members-as-member")
        member.go("/settings")
        expect(member.page.get_by_text("An ADMIN sets these.")).to_be_visible()
        member.page.get_by_role("textbox", name="Text").fill("Explain in two sentences.")
        member.page.get_by_role("button", name="Save my rules").click()
        expect(member.page.get_by_text("The rules are changed")).to_be_visible()
        member.check("settings-as-member")
        for path in ("/system", "/repositories/new"):
            member.go(path)
            expect(member.page.get_by_role("heading", name="Not allowed")).to_be_visible()
        member.axe()
        member.go("/costs")
        expect(member.page.get_by_text("Your runs")).to_be_visible()


def test_an_admin_sets_the_organization_and_makes_keys(house: House, chromium: Chromium) -> None:
    with chromium.person(house.service.url) as person:
        page = person.page
        person.sign_in(house.service.key)
        person.go("/settings")
        page.get_by_role("textbox", name="Name", exact=True).fill("Acme")
        page.get_by_role("textbox", name="Default model").fill("no model")
        page.get_by_label("Default engine").select_option("Dummy")
        person.expect_console("status of 400")
        page.get_by_role("button", name="Save organization").click()
        model = page.get_by_role("textbox", name="Default model")
        expect(model).to_be_focused()
        expect(model).to_have_value("no model")
        expect(page.get_by_text("Must be the name of a model")).to_be_visible()
        model.fill("")
        page.get_by_role("button", name="Save organization").click()
        expect(page.get_by_text("The organization is changed.")).to_be_visible()
        expect(page.get_by_role("heading", name="Acme")).to_be_visible()
        page.get_by_role("textbox", name="Text").first.fill("Test first.\nBe brief.")
        page.get_by_role("button", name="Save rules").click()
        expect(page.get_by_text("The rules are changed")).to_be_visible()
        person.check("settings")

        page.get_by_role("link", name="API keys").click()
        page.get_by_role("textbox", name="Name").fill("CI of the shop")
        page.get_by_role("button", name="Make key").click()
        key = page.locator("#new-key").inner_text()
        assert key.startswith("trd_")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        person.hear()
        page.get_by_role("button", name="Copy key").click()
        person.until_heard("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == key
        person.check("keys-made")
        person.follow(page.get_by_role("link", name="Done"))  # nobody is asked before the page's script is there
        row = page.get_by_role("row").filter(has_text="CI of the shop")
        page.once("dialog", lambda dialog: dialog.dismiss())
        row.get_by_role("button").click()
        expect(row.get_by_role("button")).to_be_visible()
        page.once("dialog", lambda dialog: dialog.accept())
        row.get_by_role("button").click()
        expect(page.get_by_text("The key is revoked.")).to_be_visible()
        person.check("keys")


def spend(house: House, **credentials: str) -> None:
    """Three runs on the shop, of $4.30 in all, one of which fails."""
    for number, (cost, fails) in enumerate(((1.2, False), (0.0, True), (3.1, False))):
        script = [{"usage": {"input": 12_000, "output": 900, "cost": cost}}, {"write": [f"f{number}", "x\n"]}]
        if fails:
            script.append({"exit": 3})
        run = house.service.start(
            gitUrl=house.git.url("acme/shop"),
            branchSource="main",
            branchWork=f"work-{number}",
            engine="Dummy",
            steps=[step(f"dummy: {json.dumps(script)}")],
            **credentials,
        )
        house.service.wait(run)


def test_a_repository_is_registered_set_up_and_run_on(house: House, chromium: Chromium) -> None:
    with chromium.person(house.service.url) as person:
        page = person.page
        person.sign_in(house.service.key)
        person.go("/repositories")
        person.check("repositories-none")
        page.get_by_role("link", name="Register the first").click()
        page.get_by_role("textbox", name="Address", exact=True).fill(house.git.url("acme/shop"))
        secret = page.get_by_role("textbox", name="user:password, or a token")
        expect(secret).not_to_be_visible()
        page.get_by_label("For HTTPS").check()
        person.check("repository-new")
        secret.fill("ada:wrong")
        person.expect_console("status of 40[09]")
        page.get_by_role("button", name="Check and register").click()
        expect(page.get_by_role("alert")).to_contain_text("did not accept the credentials")
        expect(secret).to_have_value("")
        secret.fill(f"ada:{SECRET}")
        page.get_by_role("button", name="Check and register").click()
        expect(page.get_by_text("The repository is registered")).to_be_visible()
        page.get_by_role("link", name="Look them up").click()
        expect(page.get_by_text("feature/basket")).to_be_visible()
        page.get_by_role("textbox", name="Commands, one a line").fill("echo installing\nmake")
        page.get_by_role("button", name="Save commands").click()
        expect(page.get_by_text("The setup commands are kept")).to_be_visible()
        page.get_by_role("button", name="Check access").click()
        expect(page.get_by_role("status").get_by_text("its branch main is there")).to_be_visible()
        page.get_by_text("Another check").click()
        page.get_by_role("textbox", name="Name of the check").fill("lint")
        page.get_by_label("Ignore it").check()
        page.get_by_role("button", name="Save checks").click()
        expect(page.get_by_text("What becomes of failed checks is changed.")).to_be_visible()

        spend(house)
        page.reload()
        expect(page.get_by_role("link", name="Log of execution").first).to_be_visible()
        person.check("repository")
        page.get_by_role("link", name="Log of execution").first.click()
        expect(page.get_by_label("Log", exact=True)).to_contain_text("installing")
        person.check("repository-log")
        page.get_by_role("link", name="acme/shop").click()
        page.get_by_text("Remove this repository").click()
        page.locator("#remove-name").fill("acme/other")
        page.get_by_role("button", name="Remove", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("It was not removed")
        person.go("/repositories?q=shop")
        expect(page.get_by_role("link", name="acme/shop")).to_be_visible()
        person.check("repositories")
        # Where nothing was found, too.
        person.go("/repositories?q=%E2%80%AEnothing")
        person.axe()


def test_usage_and_the_system_are_shown(house: House, chromium: Chromium) -> None:
    """The runs are those of the test before, unless another process has that; they are spread over some days here."""
    if not house.service.request("GET", "/code-generation/processes").json():
        spend(house, gitHttpCredentials=f"ada:{SECRET}")
    with sqlite3.connect(house.service.data / "treadle.db", timeout=120) as database:
        runs = [row[0] for row in database.execute("SELECT id FROM runs ORDER BY id")]
        for number, run in enumerate(runs):
            database.execute("UPDATE runs SET date_created = date_created - ? WHERE id = ?", (number * 4 * DAY, run))
    database.close()
    with chromium.person(house.service.url) as person:
        page = person.page
        person.sign_in(house.service.key)
        person.go("/costs")
        expect(page.get_by_text("$4.30").first).to_be_visible()
        expect(page.get_by_role("img", name="Cost over time, $4.30 in all")).to_be_visible()
        page.get_by_text("As a table").click()
        person.check("usage")
        page.get_by_role("link", name="7 days").click()
        expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
        page.get_by_role("link", name="Mine").click()
        expect(page.get_by_text("Your runs")).to_be_visible()
        person.axe()

        hang = [step('dummy: [{"hang": true}]')]
        url = house.git.url("acme/shop")
        ids = [
            house.service.start(
                gitUrl=url,
                gitHttpCredentials=f"ada:{SECRET}",
                branchSource="main",
                branchWork=branch,
                engine="Dummy",
                steps=hang,
            )
            for branch in ("long", "long", "other")
        ]
        for id_ in (ids[0], ids[2]):
            house.service.wait_for(id_, lambda event: event["type"] == "phase.started")
        person.go("/system")
        expect(page.get_by_text("another run has its work branch")).to_be_visible()
        person.until_shown(page.get_by_text("2 of 2"))
        person.check("system")
        for id_ in ids:
            house.service.request("POST", f"/code-generation/processes/by-id/{id_}/kill")


def test_everything_works_without_a_script(house: House, chromium: Chromium, tmp_path: Path) -> None:
    with chromium.person(house.service.url, javascript=False) as person:
        page = person.page
        person.sign_in(house.service.key)
        person.go("/settings/account")
        page.get_by_role("textbox", name="Name").fill("The admin")
        page.get_by_role("button", name="Save name").click()
        expect(page.get_by_text("Your name is changed.")).to_be_visible()
        person.go("/settings/keys")
        page.get_by_role("textbox", name="Name").fill("without a script")
        page.get_by_role("button", name="Make key").click()
        expect(page.locator("#new-key")).to_contain_text("trd_")
        page.get_by_role("link", name="Done").click()
        page.get_by_role("row").filter(has_text="without a script").get_by_role("button").click()
        expect(page.get_by_text("The key is revoked.")).to_be_visible()
        person.go("/repositories/new")
        page.get_by_label("For SSH").check()
        expect(page.get_by_role("textbox", name="Private key")).to_be_visible()
        person.go("/costs?days=7")
        expect(page.get_by_role("heading", name="Usage")).to_be_visible()
        page.get_by_label("Your account").click()
        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_text("You are signed out.")).to_be_visible()
