"""Scripts over HTTP: stored, started once a key, followed, and started by schedules."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.chores import work_off
from tests.support.deployment import Deployment, deployed

from treadle.ports.chores import ChoreKind

pytestmark = pytest.mark.anyio

SECRET = "https://bot:hush@git.example/acme/shop.git"
SOURCE = 'print("hello")\nprint(inputs.get("a"))\noutput({"a": inputs.get("a")})\n'


async def ask(
    here: Deployment, method: str, path: str, body: object = None, *, status: int = 200, key: str = ""
) -> Any:
    headers = {**here.admin.headers, **({"Idempotency-Key": key} if key else {})}
    sent: dict[str, Any] = {"json": body} if body is not None else {}
    answer: httpx2.Response = await here.http.request(method, path, headers=headers, **sent)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def test_a_script_is_stored_run_and_read(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        made = await ask(here, "POST", "/scripts", {"name": "night", "source": SOURCE, "description": "At night"})
        assert (made["version"], made["description"]) == (1, "At night")
        assert (await ask(here, "POST", "/scripts", {"name": "night", "source": "x = 1"}))["version"] == 2
        late = {"name": "night", "source": "x = 2", "ifVersion": 1}
        assert "has version 2" in (await ask(here, "POST", "/scripts", late, status=409))["detail"]
        for odd in (-1, True, "1", 1 << 40):
            wrong = await ask(here, "POST", "/scripts", {**late, "ifVersion": odd}, status=400)
            assert set(wrong["errors"]) == {"ifVersion"}
        assert [each["name"] for each in (await ask(here, "GET", "/scripts"))["scripts"]] == ["night"]
        assert (await ask(here, "GET", f"/scripts/{made['id']}?version=1"))["source"] == SOURCE
        assert (await ask(here, "GET", "/scripts/night"))["source"] == "x = 1"
        versions = (await ask(here, "GET", "/scripts/night/versions"))["versions"]
        assert [each["version"] for each in versions] == [2, 1]

        body = {"version": 1, "inputs": {"a": [1, None]}}
        run = await ask(here, "POST", "/scripts/night/runs", body, key="k")
        assert (await ask(here, "POST", "/scripts/night/runs", body, key="k"))["id"] == run["id"]
        await ask(here, "POST", "/scripts/night/runs", {"version": 2}, key="k", status=409)
        assert (run["status"], run["version"], run["inputs"]) == ("New", 1, {"a": [1, None]})
        log = await ask(here, "GET", f"/script-runs/{run['id']}/logs")
        assert log == {"lines": [], "isOver": False}
        await work_off(here, ChoreKind.SCRIPT)
        ended = await ask(here, "GET", f"/script-runs/{run['uuid']}")
        assert (ended["status"], ended["outputs"]) == ("Success", {"a": [1, None]})
        log = await ask(here, "GET", f"/script-runs/{run['id']}/logs?after=1")
        assert ([line["text"] for line in log["lines"]], log["isOver"]) == (["[1, None]"], True)
        assert not (await ask(here, "GET", f"/script-runs/{run['id']}/logs?limit=2"))["isOver"], "there may be more"
        await ask(here, "POST", f"/script-runs/{run['id']}/kill", status=409)

        other = await ask(here, "POST", "/script-runs", {"source": "fail('no')"})
        await work_off(here, ChoreKind.SCRIPT)
        page = await ask(here, "GET", "/script-runs?limit=1")
        assert ([each["failureDetails"] for each in page["runs"]], page["next"]) == (["script.star:1: no"], other["id"])
        page = await ask(here, "GET", f"/script-runs?before={page['next']}&limit=5")
        assert ([each["id"] for each in page["runs"]], page["next"]) == ([run["id"]], None)
        of_it = await ask(here, "GET", "/script-runs?script=night")
        assert [each["id"] for each in of_it["runs"]] == [run["id"]]
        await ask(here, "DELETE", "/scripts/night", status=204)
        await ask(here, "GET", "/scripts/night", status=404)


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("/scripts", {"name": "a b", "source": "x = ("}, ["name", "source"]),
        ("/scripts", {"name": 1}, ["name", "source"]),
        ("/scripts", {"nme": "a"}, ["nme"]),
        ("/script-runs", {"source": "x = 1", "inputs": []}, ["inputs"]),
        ("/script-runs", {"source": "x = 1\0"}, ["source"]),
        ("/scripts/check", {}, ["source"]),
        ("/scripts/night/runs", {"version": "1", "inputs": "a"}, ["inputs", "version"]),
        ("/script-runs", {"source": "x = 1", "inputs": {"a": [SECRET]}}, ["inputs.a[0]"]),
        ("/script-runs", {"source": f"# {SECRET}"}, ["source"]),
        ("/scripts", {"name": "night", "source": f"x = '{SECRET}'"}, ["source"]),
    ],
)
async def test_every_fault_is_named(tmp_path: Path, path: str, body: object, names: list[str]) -> None:
    async with deployed(tmp_path) as here:
        answer = await ask(here, "POST", path, body, status=400)
        assert sorted(answer["errors"]) == names
        assert "hush" not in f"{answer}"


async def test_a_check_says_where(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        failure = (await ask(here, "POST", "/scripts/check", {"source": "x = 1\ny = z"}))["failure"]
        assert (failure["fault"], failure["line"]) == ("syntax", 2)
        assert await ask(here, "POST", "/scripts/check", {"source": SOURCE}) == {"failure": None}


async def test_a_schedule_starts_a_script(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        wanted: dict[str, Any] = {"name": "tidy", "cron": "*/10 * * * *", "script": {"script": "night"}}
        await ask(here, "POST", "/schedules", wanted, status=404)
        source = "output([inputs.schedule_name, inputs.a])"
        await ask(here, "POST", "/scripts", {"name": "night", "source": source})
        wrong = {**wanted, "script": {"script": True, "version": 0, "inputs": []}}
        errors = (await ask(here, "POST", "/schedules", wrong, status=400))["errors"]
        assert sorted(errors) == ["script.inputs", "script.script", "script.version"]
        secret = {**wanted, "script": {"script": "night", "inputs": {"a": {"b": SECRET}}}}
        refused = await ask(here, "POST", "/schedules", secret, status=400)
        assert list(refused["errors"]) == ["script.inputs.a.b"]
        run = await ask(here, "POST", "/scripts/night/runs", {"inputs": {"a": SECRET}}, status=400)
        assert list(run["errors"]) == ["inputs.a"]
        assert "hush" not in f"{refused}{run}"
        wanted["script"]["inputs"] = {"a": 5}
        made = await ask(here, "POST", "/schedules", wanted)
        changed = await ask(here, "PATCH", f"/schedules/{made['id']}", {"script": secret["script"]}, status=400)
        assert list(changed["errors"]) == ["script.inputs.a.b"]
        here.clock.advance(600)
        await work_off(here, ChoreKind.SCHEDULE, ChoreKind.SCRIPT)
        (firing,) = (await ask(here, "GET", f"/schedules/{made['id']}/firings"))["firings"]
        assert firing["outcome"] == "started"
        run = await ask(here, "GET", f"/script-runs/{firing['scriptRunId']}")
        assert (run["status"], run["outputs"]) == ("Success", ["tidy", 5])
