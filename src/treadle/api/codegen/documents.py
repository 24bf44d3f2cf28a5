"""How the endpoints of the agent-run API are documented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from treadle.api.codegen import schemas
from treadle.api.codegen.errors import JSON
from treadle.api.codegen.guard import SESSION
from treadle.api.openapi import reference

Document = dict[str, Any]

#: What any endpoint may answer, and which shape that has.
_ERRORS: Mapping[int, tuple[str, type[BaseModel]]] = {
    400: ("It cannot be done with what there is.", schemas.ErrorResponse),
    401: ("No credentials, or none that hold.", schemas.UnauthenticatedResponse),
    402: (
        "The organization has made its runs of the month, or they have cost what they may in it.",
        schemas.ErrorResponse,
    ),
    403: ("Not your organization, or not for your role.", schemas.ErrorResponse),
    404: ("Unknown, or not yours to see.", schemas.ErrorResponse),
    409: ("The state does not allow it.", schemas.ErrorResponse),
    413: ("Larger than the limit.", schemas.ErrorResponse),
    422: ("What was sent is not valid; `detail` names every fault.", schemas.HTTPValidationError),
    429: ("Too many requests; `Retry-After` says when to come back, in seconds.", schemas.ErrorResponse),
    500: ("A defect; the log tells of it.", schemas.ErrorResponse),
    503: ("The service cannot work now; try again.", schemas.ErrorResponse),
}
_ALWAYS = (401, 403, 422, 429, 500, 503)

#: What parameters mean; those of the path are ids.
_MEANINGS: Mapping[str, str] = {
    "org_id": "The organization.",
    "user_id": "The user.",
    "agent_run_id": "The agent run.",
    "repo_id": "The repository.",
    "pr_id": "The pull request, by Treadle's id.",
    "sandbox_id": "The execution of setup commands, as the log of the run with it tells.",
    SESSION: "What the CLI calls its session.",
    "skip": "How many to leave out.",
    "limit": "How many at most.",
    "source_type": "Only those that came from there.",
    "reverse": "Newest first.",
    "provider": "The provider's name.",
}


@dataclass(frozen=True, slots=True)
class Doc:
    """`answer`: a shape, or a schema for what is no object of its own."""

    tag: str
    summary: str
    answer: type[BaseModel] | Document
    description: str = ""
    problems: Sequence[int] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    headers: Sequence[Document] = ()

    def options(self, path: str) -> dict[str, Any]:
        """As FastAPI takes it."""
        schema = self.answer if isinstance(self.answer, dict) else reference(self.answer)
        success: Document = {"description": "The answer.", "content": {JSON: {"schema": schema}}}
        extra: Document = {"parameters": [*_of_path(path), *_of_query(self.query), *self.headers]}
        if self.body is not None:
            extra["requestBody"] = {"required": True, "content": {JSON: {"schema": reference(self.body)}}}
        return {
            "status_code": 200,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "responses": {200: success, **{code: _problem(code) for code in sorted({*self.problems, *_ALWAYS})}},
            "openapi_extra": extra,
        }


def parameter(place: str, name: str, description: str, schema: Document, *, is_required: bool) -> Document:
    return {"name": name, "in": place, "description": description, "required": is_required, "schema": schema}


def _problem(code: int) -> Document:
    description, shape = _ERRORS[code]
    return {"description": description, "content": {JSON: {"schema": reference(shape)}}}


def _of_path(path: str) -> list[Document]:
    names = [part.partition("}")[0].partition(":")[0] for part in path.split("{")[1:]]
    return [
        parameter("path", name, _MEANINGS[name], {"type": "string" if name == SESSION else "integer"}, is_required=True)
        for name in names
    ]


def _of_query(query: type[BaseModel] | None) -> list[Document]:
    if query is None:
        return []
    schema = query.model_json_schema()
    required, definitions = schema.get("required", ()), schema.get("$defs", {})
    return [
        parameter("query", name, _MEANINGS[name], _plain(field, definitions), is_required=name in required)
        for name, field in schema["properties"].items()
    ]


def _plain(field: Document, definitions: Document) -> Document:
    """A parameter's schema by itself: its definitions in their places, and without what is only a title."""
    if "$ref" in field:
        return _plain(definitions[field["$ref"].rpartition("/")[2]], definitions)
    kept = {name: value for name, value in field.items() if name not in {"title", "description"}}
    if "anyOf" in kept:
        kept["anyOf"] = [_plain(each, definitions) for each in kept["anyOf"]]
    return kept
