"""The agent-run API in our own OpenAPI document, beside the specification that it follows."""

import re

import pytest
from tests.support.agent_run_contract import operations
from tests.support.deployment import Json
from tests.unit.api.codegen.calls import BESIDES, SESSION
from tests.unit.api.codegen.scene import Scene

#: In the path, and so in no list of parameters of the specification's.
_NAME = re.compile(r"\{(\w+)\}")

#: Of bodies, besides what the specification knows; its clients leave them out.
ADDED = {"max_cost_usd", "network", "validate"}


@pytest.mark.anyio
async def test_every_operation_is_documented(there: Scene) -> None:
    document: Json = (await there.here.http.get("/openapi.json")).json()
    documented = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1/")
    }
    specified = {str(operation): operation for operation in operations()}
    reported = {f"POST {SESSION}/{{session_id}}/{what}" for what in ("status", "log")}
    assert documented.keys() == specified.keys() | BESIDES.keys() | reported
    for name, operation in documented.items():
        assert operation["summary"]
        assert {"200", "401", "403", "422", "429", "500", "503"} <= set(operation["responses"])
        parameters = {each["name"]: each for each in operation["parameters"]}
        assert set(_NAME.findall(name)) <= parameters.keys()
        assert all(each["description"] for each in parameters.values())
        if name in specified:
            published = specified[name]
            for place in ("path", "query"):
                expected = {each["name"]: each["required"] for each in published.parameters(place)}
                found = {each["name"]: each["required"] for each in parameters.values() if each["in"] == place}
                assert found.items() >= expected.items(), name
            # Of setup commands it knows a 400 for invalid input, which is 422 here as everywhere.
            assert set(published.description["responses"]) - {"400"} <= operation["responses"].keys(), name
            if published.body is not None:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                shape = document["components"]["schemas"][reference.rpartition("/")[2]]
                assert shape["properties"].keys() - ADDED == published.body["properties"].keys()
                assert shape.get("required", []) == published.body.get("required", [])
        for answer in operation["responses"].values():
            assert answer["content"]["application/json"]["schema"]


@pytest.mark.anyio
async def test_references_lead_somewhere(there: Scene) -> None:
    document = there.here.app.openapi()
    known = document["components"]["schemas"]
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert names <= known.keys()
    identifiers = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(identifiers) == len(set(identifiers))
