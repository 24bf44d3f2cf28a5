"""How the API takes schedules."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import Deployment, deployed

from treadle.api.native import schedule_targets
from treadle.services import schedules
from treadle.services.plan_texts import PlanReading, read_plan_text

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found


async def test_nobody_waits_for_the_yaml_of_a_plan(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of the length that is allowed takes seconds."""
    readers = list[threading.Thread]()

    def reading(text: str, *, allow_local: bool) -> PlanReading:
        readers.append(threading.current_thread())
        return read_plan_text(text, allow_local=allow_local)

    monkeypatch.setattr(schedule_targets, "read_plan_text", reading)
    plan = {"plan": "steps: [Tidy up]", "url": "https://git.example/acme/shop.git"}
    answer = await here.http.post(
        "/schedules", headers=here.admin.headers, json={"name": "tidy", "cron": "@daily", "plan": plan}
    )
    assert answer.is_success, answer.text
    assert readers
    assert threading.current_thread() not in readers


async def test_an_address_with_credentials_is_not_kept(here: Deployment) -> None:
    plan = {"plan": {"steps": ["x"]}, "url": "https://ada:token@git.example/acme/shop.git"}
    answer = await here.http.post(
        "/schedules", headers=here.admin.headers, json={"name": "tidy", "cron": "@daily", "plan": plan}
    )
    assert answer.is_client_error
    assert answer.json()["errors"].keys() == {"plan.url"}
    assert "token" not in (await here.http.get("/schedules", headers=here.admin.headers)).text


async def test_they_are_listed_page_by_page(here: Deployment) -> None:
    for name in ("b", "ä", "a", "c"):
        plan = {"plan": {"steps": ["x"]}, "url": "https://git.example/acme/shop.git"}
        sent = {"name": name, "cron": "@daily", "plan": plan}
        assert (await here.http.post("/schedules", headers=here.admin.headers, json=sent)).is_success

    async def page(**query: int | str) -> httpx2.Response:
        return await here.http.get("/schedules", headers=here.admin.headers, params=query)

    whole = (await page()).json()
    assert ([each["name"] for each in whole["schedules"]], whole["next"]) == (["a", "b", "c", "ä"], None)
    first = (await page(limit=3)).json()
    rest = (await page(limit=3, after=first["next"])).json()
    assert (first["schedules"] + rest["schedules"], rest["next"]) == (whole["schedules"], None)
    for name, wrong in (("limit", 0), ("limit", 101), ("limit", "x"), ("after", "\0")):
        answer = await page(**{name: wrong})
        assert (answer.status_code, answer.json()["errors"].keys()) == (400, {name})


async def add(here: Deployment, name: str) -> httpx2.Response:
    plan = {"plan": {"steps": ["x"]}, "url": "https://git.example/acme/shop.git"}
    sent = {"name": name, "cron": "@daily", "plan": plan}
    return await here.http.post("/schedules", headers=here.admin.headers, json=sent)


async def test_a_call_with_one_key_fires_once(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it comes; the audit log tells of it once."""
    first, second = [(await add(here, name)).json()["id"] for name in ("a", "b")]
    calls = [here.clock.now()]

    def ticking() -> datetime:  # no two calls at the same time: that alone would make one firing of them
        calls.append(calls[-1] + timedelta(milliseconds=1))
        return calls[-1]

    monkeypatch.setattr(here.clock, "now", ticking)

    async def fire(which: int, key: str | None = "once") -> httpx2.Response:
        named = {} if key is None else {"Idempotency-Key": key}
        return await here.http.post(f"/schedules/{which}/fire", headers={**here.admin.headers, **named})

    answers = await asyncio.gather(*(fire(first) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert len(await here.store.firings(first, limit=9)) == 1
    entries = (await here.http.get("/audit", headers=here.admin.headers)).text
    assert entries.count("schedule.fired") == 1
    assert (await fire(second)).status_code == 409
    assert (await fire(second, "")).json()["errors"].keys() == {"Idempotency-Key"}
    for key in ("another", None, None):
        assert (await fire(first, key)).is_success
    assert len(await here.store.firings(first, limit=9)) == 4


async def test_one_too_many_is_a_conflict(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 1)
    assert (await add(here, "a")).is_success
    refused = await add(here, "b")
    assert (refused.status_code, "1 schedules already" in refused.json()["detail"]) == (409, True)
