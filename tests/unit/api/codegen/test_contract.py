"""Every operation of the published specification, with valid and with invalid input: status and body are as it says."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.agent_run_contract import Operation, operations, resolve
from tests.unit.api.codegen.calls import SPECIFIED, filled
from tests.unit.api.codegen.scene import Scene

EVERY = {str(operation): operation for operation in operations()}

#: What no value of a type is.
WRONG: dict[str, list[object]] = {
    "integer": ["x", 1.5, [], {}, True],
    "string": [3, [], {}, False],
    "array": ["x", 3, {}],
    "object": ["x", 3, []],
}


def test_no_operation_is_left_out() -> None:
    assert set(SPECIFIED) == set(EVERY)


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(EVERY))
async def test_a_valid_call(there: Scene, name: str) -> None:
    operation = EVERY[name]
    answer = await there.send(operation.method, operation.path, **filled(SPECIFIED[name], there.ids))
    assert answer.status_code == 200, answer.text
    operation.check(answer)


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(EVERY))
async def test_invalid_calls(there: Scene, name: str) -> None:
    """Whatever it is, the answer is the one that FastAPI would have given, at the place where the fault is."""
    operation, valid = EVERY[name], filled(SPECIFIED[name], there.ids)
    before = await there.json("GET", "/v1/organizations/{org_id}/agent/runs")
    asked = 0
    for path, changed, location in (
        *_in_path(operation, valid),
        *_in_query(operation, valid),
        *_in_body(operation, valid),
    ):
        asked += 1
        answer = await there.send(operation.method, path, **changed)
        assert answer.status_code == 422, (path, changed, answer.text)
        operation.check(answer)
        faults = answer.json()["detail"]
        assert location in [fault["loc"][: len(location)] for fault in faults], (location, faults)
        assert all(fault["msg"] and fault["type"] for fault in faults)
    assert asked or not operation.description.get("parameters", [])[:-1], "nothing to get wrong"
    assert await there.json("GET", "/v1/organizations/{org_id}/agent/runs") == before


Case = tuple[str, dict[str, Any], list[str | int]]


def _in_path(operation: Operation, valid: dict[str, Any]) -> Iterator[Case]:
    for parameter in operation.parameters("path"):
        name = parameter["name"]
        for wrong in ("x", "1.5", "%20"):
            yield operation.path.replace(f"{{{name}}}", wrong), valid, ["path", name]


def _in_query(operation: Operation, valid: dict[str, Any]) -> Iterator[Case]:
    for parameter in operation.parameters("query"):
        name, schema, given = parameter["name"], parameter["schema"], valid.get("params", {})
        if parameter["required"]:
            rest = {key: value for key, value in given.items() if key != name}
            yield operation.path, {**valid, "params": rest}, ["query", name]
        kind = schema.get("type") or resolve(schema["anyOf"][0]).get("type")
        wrong = ["x", "", "1.5"] if kind == "integer" else ["perhaps"] if kind == "boolean" else []
        wrong += ["NOWHERE"] if name == "source_type" else []
        wrong += [str(schema["minimum"] - 1)] if "minimum" in schema else []
        wrong += [str(schema["maximum"] + 1)] if "maximum" in schema else []
        for value in wrong:
            yield operation.path, {**valid, "params": {**given, name: value}}, ["query", name]


def _in_body(operation: Operation, valid: dict[str, Any]) -> Iterator[Case]:
    schema = operation.body
    if schema is None:
        return
    rest = {key: value for key, value in valid.items() if key != "json"}
    json_type = {"headers": {"Content-Type": "application/json"}}
    for content in (b"", b"{", b"[]", b'"x"', b"NaN", b"\xff", b"[" * 100_000, b"9" * 5_000):
        yield operation.path, {**rest, **json_type, "content": content}, ["body"]
    yield operation.path, {**rest, "data": {"prompt": "a form"}}, ["body"]
    body = valid["json"]
    for name in schema.get("required", ()):
        yield operation.path, {**rest, "json": {key: body[key] for key in body if key != name}}, ["body", name]
    for name, each in schema["properties"].items():
        kinds = [resolve(kind) for kind in each.get("anyOf", [each])]
        if not any(kind.get("type") == "null" for kind in kinds):
            yield operation.path, {**rest, "json": {**body, name: None}}, ["body", name]
        for kind in kinds:
            for value in _wrong(kind):
                yield operation.path, {**rest, "json": {**body, name: value}}, ["body", name]


def _wrong(schema: dict[str, Any]) -> Iterator[object]:
    if "enum" in schema:
        yield "something else"
    yield from WRONG.get(schema.get("type", ""), ())
    if "maximum" in schema:
        yield schema["maximum"] + 1
        yield schema["minimum"] - 1
    if "items" in schema:
        yield from ([value] for value in WRONG[schema["items"]["type"]])
    if isinstance(schema.get("additionalProperties"), dict):
        yield from ({"key": value} for value in WRONG[schema["additionalProperties"]["type"]])


#: Ids that nothing has, in every place where an id goes.
NOTHING = (999_999, 0, -1, 2**63, 10**30)


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(EVERY))
async def test_ids_of_nothing(there: Scene, name: str) -> None:
    """Told so in the specification's way, and never a defect."""
    operation, valid = EVERY[name], SPECIFIED[name]
    for wrong in NOTHING:
        for which in there.ids:
            ids = {**there.ids, which: wrong}
            answer = await there.here.http.request(
                operation.method,
                operation.path.format(**ids),
                headers=there.here.admin.headers,
                **filled(valid, ids),
            )
            operation.check(answer)
            is_named = f"{{{which}}}" in operation.path or which in str(valid)
            if which == "org_id" and is_named:
                assert answer.status_code == 403, answer.text
