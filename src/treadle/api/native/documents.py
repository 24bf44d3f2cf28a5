"""How Treadle's own endpoints are documented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from treadle.api.openapi import reference
from treadle.api.problems import MEDIA_TYPE as PROBLEM

JSON = "application/json"

#: Of every endpoint behind credentials.
_ALWAYS = (401, 403, 429, 500, 503)

_PROBLEMS: Mapping[int, str] = {
    400: "What was sent is not valid; `errors` names every fault.",
    401: "No credentials, or none that hold.",
    402: "The month's runs or costs are used up.",
    403: "No role in this organization, or one that may not do this.",
    404: "Unknown, or another organization's.",
    409: "Its state does not allow it; `detail` says why.",
    413: "Larger than the limit, which `detail` names.",
    415: "Another content type than this takes.",
    429: "Too many requests; `Retry-After` says when to come back, in seconds.",
    500: "A defect; `instance` names it in the log.",
    503: "The service cannot work now; `instance` names the cause in the log.",
}

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`answer` None is 204."""

    tag: str
    summary: str
    description: str = ""
    answer: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    problems: Sequence[int] = ()
    parameters: Sequence[Document] = ()

    def options(self) -> dict[str, Any]:
        """As a route takes it."""
        status = 204 if self.answer is None else 200
        success: dict[str, Any] = {"description": "Done." if self.answer is None else "The answer."}
        if self.answer is not None:
            success["content"] = {JSON: {"schema": reference(self.answer)}}
        extra: dict[str, Any] = {"parameters": list(self.parameters)}
        if self.body is not None:
            extra["requestBody"] = {"required": True, "content": {JSON: {"schema": reference(self.body)}}}
        return {
            "status_code": status,
            "tags": [self.tag],
            "name": self.summary,
            "summary": self.summary,
            "description": self.description,
            "responses": {status: success, **{code: _problem(code) for code in sorted((*self.problems, *_ALWAYS))}},
            "openapi_extra": extra,
        }


def parameter(place: str, name: str, description: str, schema: Document, *, is_required: bool = False) -> Document:
    return {"name": name, "in": place, "description": description, "required": is_required, "schema": schema}


def _problem(code: int) -> Document:
    shape = {"$ref": "#/components/schemas/ProblemShape"}  # of the code-generation API
    return {"description": _PROBLEMS[code], "content": {PROBLEM: {"schema": shape}}}
