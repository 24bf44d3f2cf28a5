"""The published specification of the agent-run API, and whether an answer is what it says."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
from jsonschema import Draft202012Validator

Json = dict[str, Any]  # what tests read of documents and answers

FILE = Path(__file__).parents[1] / "contracts" / "codegen-openapi.json"

_REFUSAL: Json = {
    "type": "object",
    "required": ["message", "status_code", "detail"],
    "properties": {
        "message": {"type": "string"},
        "status_code": {"type": "integer"},
        "detail": {"type": "string"},
    },
}

#: What any operation may answer, whether its part of the specification names it or not: the contract's own words.
GENERAL: Mapping[int, Json] = {
    401: {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}},
    403: _REFUSAL,
    404: _REFUSAL,
    429: _REFUSAL,
}


@cache
def document() -> Json:
    found: Json = json.loads(FILE.read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Operation:
    """One of the specification's. `path` is the template."""

    method: str
    path: str
    description: Json

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def parameters(self, place: str) -> list[Json]:
        return [each for each in self.description.get("parameters", ()) if each["in"] == place]

    @property
    def body(self) -> Json | None:
        """The schema of its body, its references followed."""
        if "requestBody" not in self.description:
            return None
        schema: Json = self.description["requestBody"]["content"]["application/json"]["schema"]
        return resolve(schema)

    def check(self, answer: httpx2.Response) -> None:
        """Fails unless status and body are what the specification says."""
        status, said = answer.status_code, self.description["responses"]
        assert str(status) in said or status in GENERAL, f"{self} answers {status}: {answer.text}"
        schema = GENERAL.get(status, {})
        specified = said.get(str(status), {}).get("content", {}).get("application/json", {}).get("schema", {})
        assert answer.headers["content-type"] == "application/json"
        for each in (schema, specified):
            validator = Draft202012Validator({**each, "components": document()["components"]})
            faults = [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(answer.json())]
            assert not faults, f"{self} {status}: {faults} in {answer.text}"


def operations() -> Iterator[Operation]:
    for path, methods in document()["paths"].items():
        for method, description in methods.items():
            yield Operation(method.upper(), path, description)


def resolve(schema: Json) -> Json:
    """The schema that a reference points to; itself where it is none."""
    if "$ref" not in schema:
        return schema
    found: Json = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
