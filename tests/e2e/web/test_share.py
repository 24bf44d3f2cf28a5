"""A link to one run, in the browser of somebody who has no account."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.browser import Chromium, Person
from tests.support.git_server import GitServer
from tests.support.service import Service, step, waits


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data") as running:
        yield running


@pytest.fixture
def person(service: Service, chromium: Chromium) -> Iterator[Person]:
    with chromium.person(service.url) as somebody:
        somebody.sign_in(service.key)
        yield somebody


def test_a_guest_watches_a_run_and_reads_its_diff(
    service: Service, git: GitServer, person: Person, chromium: Chromium
) -> None:
    process = service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork="work",
        engine="Dummy",
        generateDiffOnCompletion=True,
        steps=[
            step(f"dummy: Count\n{json.dumps([{'write': ['src/count.py', 'print(1)']}, waits(), {'say': 'done'}])}")
        ],
    )
    page = person.page
    person.go("/runs/1")
    expect(page.locator("#trace-items > li").last).to_contain_text(waits()["run"])
    page.locator("#share > summary").click()
    page.get_by_label("Days").fill("3")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#share-link").inner_text()
    assert re.fullmatch(rf"{re.escape(service.url)}/shared/[\w-]+", link)
    person.check("share-link")
    with chromium.person(service.url) as guest:
        guest.go(link.removeprefix(service.url))
        expect(guest.page.get_by_role("heading", level=1)).to_contain_text("Count")
        service.let_go(process)
        expect(guest.page.locator("#run-head").get_by_text("Success")).to_be_visible()
        service.wait(process, "Success")
        expect(guest.page.get_by_role("button", name=re.compile("Stop|Resume|Share|Run again"))).to_have_count(0)
        guest.check("shared-run")
        guest.page.get_by_role("link", name="Look at the diff").click()
        expect(guest.page.get_by_role("heading", name="What changed")).to_be_visible()
        expect(guest.page.get_by_text("src/count.py").first).to_be_visible()
        assert "/shared/" in guest.page.url
        guest.check("shared-diff")
        guest.expect_console("404")
        person.go("/runs/1/share")  # as the address bar has it after a link was made
        assert page.url.endswith("/runs/1")
        page.locator("#share > summary").click()
        person.follow(page.get_by_role("button", name="Revoke"))
        expect(page.locator("#share").get_by_role("button", name="Revoke")).to_have_count(0)
        guest.page.reload()
        expect(guest.page.get_by_role("heading", name="Not found")).to_be_visible()
        guest.check("shared-gone")
