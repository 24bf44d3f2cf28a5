"""What the package offers, and at what cost."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.scripted_api import AnyClient, ScriptedApi, ok, process_json

import treadle
import treadle.sdk
from treadle.sdk import AsyncClient, Client
from treadle.sdk._agents import Agents
from treadle.sdk._async_agents import AsyncAgents
from treadle.sdk._async_client import AsyncAuth, AsyncFiles, AsyncProcesses
from treadle.sdk._bill import AsyncBill, AsyncBudgets, Bill, Budgets
from treadle.sdk._client import Auth, Files, Processes
from treadle.sdk._policies import AsyncPolicies, Policies


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


def test_the_names_are_sorted_and_all_there() -> None:
    assert list(treadle.sdk.__all__) == sorted(treadle.sdk.__all__)
    assert list(treadle.__all__) == sorted(treadle.__all__)
    assert list(treadle.__all__) == [*treadle.sdk.__all__, "__version__"]
    for name in treadle.sdk.__all__:
        assert getattr(treadle, name) is getattr(treadle.sdk, name)
        assert name in dir(treadle)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = treadle.Nothing  # type: ignore[attr-defined]  # that is what is tested


def test_type_checkers_see_the_same_names() -> None:
    stub = ast.parse(Path(treadle.__file__).with_suffix(".pyi").read_text())
    imported = {
        alias.asname or alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    [names] = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert names == list(treadle.__all__)
    assert imported == set(names)
    assert Path(treadle.__file__).with_name("py.typed").exists()


def test_importing_treadle_imports_nothing_else() -> None:
    heavy = ("httpx2", "pydantic", "asyncio", "treadle.sdk", "dataclasses", "json")
    program = f"import sys, treadle; print([name for name in {heavy!r} if name in sys.modules])"
    assert run(program) == "[]"


def test_the_sdk_imports_nothing_of_the_server() -> None:
    program = (
        "import sys, treadle.sdk; print(sorted(name for name in sys.modules if name.startswith('treadle.') "
        "and not name.startswith('treadle.sdk') and name != 'treadle.version'), 'pydantic' in sys.modules)"
    )
    assert run(program) == "[] False"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Processes, AsyncProcesses),
        (Agents, AsyncAgents),
        (Files, AsyncFiles),
        (Auth, AsyncAuth),
        (Bill, AsyncBill),
        (Budgets, AsyncBudgets),
        (Policies, AsyncPolicies),
    ],
)
def test_both_clients_have_the_same_methods(one: type, other: type) -> None:
    methods = [name for name in vars(one) if not name.startswith("_")]
    assert methods == [name for name in vars(other) if not name.startswith("_")]
    for name in methods:
        ours, theirs = inspect.signature(getattr(one, name)), inspect.signature(getattr(other, name))
        assert ours.parameters == theirs.parameters
        assert getattr(one, name).__doc__ == getattr(other, name).__doc__
        assert getattr(one, name).__doc__


def test_the_constructors_take_the_same() -> None:
    assert list(inspect.signature(Client).parameters) == list(inspect.signature(AsyncClient).parameters)


@pytest.mark.anyio
async def test_address_and_key_come_from_the_environment(api: ScriptedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_URL", "https://treadle.example/base/")
    monkeypatch.setenv("TREADLE_API_KEY", " key-from-environment\n")
    api.answers += [ok([])] * 3
    for settings in ({}, {"token": "eyJ.a.b"}, {"base_url": "http://other.test", "api_key": "given"}):
        sdk = AnyClient(api, "sync", **{"base_url": None, "api_key": None, **settings})
        await sdk.result(sdk.client.processes.alive())
    first, second, third = api.requests
    assert str(first.url) == "https://treadle.example/base/code-generation/processes/alive"
    assert first.headers["x-api-key"] == "key-from-environment"
    assert second.headers["authorization"] == "Bearer eyJ.a.b"
    assert "x-api-key" not in second.headers
    assert (str(third.url.host), third.headers["x-api-key"]) == ("other.test", "given")
    assert first.headers["user-agent"].startswith("treadle-python/")


@pytest.mark.usefixtures("api")
def test_without_anything_it_is_the_local_server() -> None:
    with Client() as client:
        assert client.base_url == "http://127.0.0.1:8417"
        assert "8417" in repr(client)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"base_url": "localhost:8417"}, "http://"),
        ({"api_key": "a", "token": "b"}, "not both"),
        ({"api_key": "two words"}, "no key has"),
        ({"api_key": ""}, "empty"),
        ({"token": "kéy"}, "no key has"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_can_never_work_is_said_at_once(kind: type, parameters: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        kind(**parameters)
    assert "two words" not in str(caught.value)


@pytest.mark.anyio
async def test_no_secret_shows_in_a_repr(api: ScriptedApi) -> None:
    sdk = AnyClient(api, "sync", api_key="secret-key")
    api.answers.append(ok(process_json()))
    await sdk.result(sdk.client.processes.get("x"))
    driver = sdk.client.processes._driver
    assert "secret-key" not in repr([sdk.client, driver.retry, driver._connection])


@pytest.mark.anyio
async def test_the_context_managers_close(api: ScriptedApi) -> None:
    with Client("http://treadle.test") as client:
        http = client._http
    assert http.is_closed
    async with AsyncClient("http://treadle.test") as async_client:
        async_http = async_client._http
    assert async_http.is_closed
