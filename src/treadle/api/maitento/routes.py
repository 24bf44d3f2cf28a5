"""The endpoints of the code-generation API, and their documentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from treadle.api.maitento import examples, requests, schemas
from treadle.api.maitento.artifacts import ArtifactHandlers
from treadle.api.maitento.files import FileHandlers, TokenHandlers
from treadle.api.maitento.processes import EVENT_STREAM, JSON, MAX_IDEMPOTENCY_KEY, PATCH, Processes
from treadle.api.openapi import reference
from treadle.api.plain_route import Handler, PlainRoute
from treadle.api.problem_guard import Guard
from treadle.api.problems import MEDIA_TYPE as PROBLEM
from treadle.domain.states import RunStatus

BASE = "/code-generation/processes"
BY_ID = f"{BASE}/by-id/{{id}}"

#: Everything that the documentation refers to.
SHAPES: Sequence[type[BaseModel]] = (
    requests.ProcessBody,
    requests.CredentialsBody,
    requests.ClaudeAuthenticationUpdateBody,
    schemas.ProcessShape,
    schemas.DiffShape,
    schemas.EventShape,
    schemas.ArtifactShape,
    schemas.FileShape,
    schemas.TokenShape,
    schemas.KeysShape,
    schemas.ProblemShape,
)

_PROBLEMS: Mapping[int, str] = {
    400: "What was sent is not valid; `errors` names every fault.",
    401: "No credentials, or none that hold.",
    402: "The tenant has used up what it may in this month; `detail` says what and when it ends.",
    403: "No role in this tenant.",
    404: "Unknown, or another tenant's.",
    409: "The state does not allow it.",
    413: "Larger than the limit, which `detail` names.",
    415: "Another content type than this takes.",
    429: "Too many requests; `Retry-After` says when to come back, in seconds.",
    500: "A defect; `instance` names it in the log.",
    503: "The service cannot work now; `instance` names the cause in the log.",
}

#: Of every endpoint behind credentials.
_ALWAYS = (401, 403, 429, 500, 503)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Doc:
    """`answer` maps media types to (schema, example); empty is 204."""

    tag: str
    summary: str
    description: str = ""
    answer: Mapping[str, tuple[Document, Any]] = field(default_factory=dict)
    problems: Sequence[int] = ()
    parameters: Sequence[Document] = ()
    body: Document | None = None
    is_open: bool = False

    def options(self) -> dict[str, Any]:
        """As FastAPI takes it."""
        status = 200 if self.answer else 204
        content = {kind: {"schema": schema, "example": example} for kind, (schema, example) in self.answer.items()}
        success: Document = {"description": "Done." if status == 204 else "The answer."}  # noqa: PLR2004 - HTTP's
        if content:
            success["content"] = content
        problems = (500,) if self.is_open else (*self.problems, *_ALWAYS)
        extra: Document = {"parameters": list(self.parameters)}
        if self.body is not None:
            extra["requestBody"] = {"required": True, "content": self.body}
        if self.is_open:
            extra["security"] = []
        return {
            "status_code": status,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "responses": {status: success, **{code: _problem(code) for code in sorted(problems)}},
            "openapi_extra": extra,
        }


def _problem(code: int) -> Document:
    example = examples.INVALID if code == 400 else None  # noqa: PLR2004 - HTTP's
    content: Document = {"schema": reference(schemas.ProblemShape)}
    return {
        "description": _PROBLEMS[code],
        "content": {PROBLEM: content | ({"example": example} if example else {})},
    }


def _shape(model: type[BaseModel], example: Any) -> dict[str, tuple[Document, Any]]:
    return {JSON: (reference(model), example)}


def _array(model: type[BaseModel], example: Any) -> dict[str, tuple[Document, Any]]:
    return {JSON: ({"type": "array", "items": reference(model)}, [example])}


def _body(model: type[BaseModel], example: Any) -> Document:
    return {JSON: {"schema": reference(model), "example": example}}


def _parameter(place: str, name: str, description: str, schema: Document, *, is_required: bool = False) -> Document:
    return {"name": name, "in": place, "description": description, "required": is_required, "schema": schema}


_ID = _parameter("path", "id", "Its id.", {"type": "string", "format": "uuid"}, is_required=True)
_NAME = _parameter("path", "name", "Its name, as the list tells it.", {"type": "string"}, is_required=True)
_SKIP = _parameter("query", "skip", "How many to leave out.", {"type": "integer", "minimum": 0, "default": 0})
_LIMIT = _parameter(
    "query", "limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1000}
)
_STATUS = _parameter(
    "query",
    "status",
    "Only these; may be repeated.",
    {"type": "array", "items": {"type": "string", "enum": [str(status) for status in RunStatus]}},
)
_IDEMPOTENCY_KEY = _parameter(
    "header",
    "Idempotency-Key",
    "A repeat within 24 hours answers the same process; the same key with another body is 409.",
    {"type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY},
)
_LAST_EVENT_ID = _parameter("header", "Last-Event-ID", "Go on after this number.", {"type": "integer", "minimum": 0})
_AFTER = _parameter("query", "after", "Only events above this number.", {"type": "integer", "minimum": 0, "default": 0})
_PAGE = _parameter(
    "query", "limit", "How many at most, of a page.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 200}
)
_BYTES: Document = {"type": "string", "format": "binary"}
_FORM: Document = {
    "multipart/form-data": {
        "schema": {"type": "object", "required": ["file"], "properties": {"file": _BYTES}},
    }
}

_PROCESSES, _FILES, _AUTH = "Code generation", "Files", "Authentication"
_LIST_NOTE = (
    "Newest first. Tenant.Admin sees the tenant's, Tenant.User its own. `diff` and the steps' outputs are null."
)

_CREATE = _Doc(
    _PROCESSES,
    "Start a process",
    "Steps on one work branch; each commitable step ends in one pushed commit.",
    _shape(schemas.ProcessShape, examples.PROCESS),
    (400, 402, 409, 413, 415),
    (_IDEMPOTENCY_KEY,),
    _body(requests.ProcessBody, examples.PROCESS_REQUEST),
)
_GET = _Doc(_PROCESSES, "Get a process", "Whole.", _shape(schemas.ProcessShape, examples.PROCESS), (404,), (_ID,))
_LIST = _Doc(
    _PROCESSES,
    "List processes",
    _LIST_NOTE,
    _array(schemas.ProcessShape, examples.PROCESS),
    (400,),
    (_SKIP, _LIMIT, _STATUS),
)
_ALIVE = _Doc(
    _PROCESSES,
    "List processes that are New or Running",
    _LIST_NOTE,
    _array(schemas.ProcessShape, examples.PROCESS),
)
_CREDENTIALS = _Doc(
    _PROCESSES,
    "Update Git credentials",
    "The next Git command uses them.",
    problems=(400, 404, 409, 413, 415),
    parameters=(_ID,),
    body=_body(requests.CredentialsBody, examples.CREDENTIALS_REQUEST),
)
_CLAUDE = _Doc(
    _PROCESSES,
    "Update Claude authentication",
    "The next call of the engine uses it.",
    problems=(400, 404, 409, 413, 415),
    parameters=(_ID,),
    body=_body(requests.ClaudeAuthenticationUpdateBody, examples.CLAUDE_REQUEST),
)
_KILL = _Doc(
    _PROCESSES,
    "Kill a process",
    "Within 5 seconds its status is Killed and nothing of the engine is left alive. Pushed commits stay.",
    problems=(404, 409),
    parameters=(_ID,),
)
_EVENTS = _Doc(
    _PROCESSES,
    "Follow a process",
    "Server-sent events until the process ends; with `Accept: application/json` a page. A stream that is resumed after "
    "the last event of a finished process is answered with 204.",
    {
        EVENT_STREAM: ({"type": "string"}, examples.EVENTS_TEXT),
        JSON: ({"type": "array", "items": reference(schemas.EventShape)}, [examples.EVENT]),
    },
    (400, 404),
    (_ID, _AFTER, _PAGE, _LAST_EVENT_ID),
)
_DIFF = _Doc(
    _PROCESSES,
    "Get the diff so far",
    "Of source and work branch, as pushed. `Accept: text/x-diff` gives the patch.",
    {JSON: (reference(schemas.DiffShape), examples.DIFF), PATCH: ({"type": "string"}, "diff --git a/…")},
    (404,),
    (_ID,),
)
_ARTIFACTS = _Doc(
    _PROCESSES,
    "List what a process has left",
    "Its diff as a document and as a patch; the uncommitted work of a step that failed, as a patch for `git apply`.",
    _array(schemas.ArtifactShape, examples.ARTIFACT),
    (404,),
    (_ID,),
)
_ARTIFACT = _Doc(
    _PROCESSES,
    "Download what a process has left",
    "As an attachment, with the content type that the list tells.",
    {"*/*": (_BYTES, "diff --git a/…")},
    (404,),
    (_ID, _NAME),
)
_UPLOAD = _Doc(
    _FILES,
    "Upload a file",
    "To refer to in `fileIds`.",
    _shape(schemas.FileShape, examples.FILE),
    (400, 413, 415),
    body=_FORM,
)
_FILE_LIST = _Doc(
    _FILES, "List files", "Newest first.", _array(schemas.FileShape, examples.FILE), (400,), (_SKIP, _LIMIT)
)
_FILE = _Doc(_FILES, "Get a file's description", "", _shape(schemas.FileShape, examples.FILE), (404,), (_ID,))
_CONTENT = _Doc(
    _FILES, "Download a file", "As an attachment.", {"application/octet-stream": (_BYTES, "…")}, (404,), (_ID,)
)
_DELETE = _Doc(_FILES, "Delete a file", "409 while a living process refers to it.", {}, (404, 409), (_ID,))
_TOKEN = _Doc(
    _AUTH,
    "Get a token for an API key",
    "A JWT, signed with RS256, for 24 hours, with the claims name, upn, role (array), tenId, oid.",
    _shape(schemas.TokenShape, examples.TOKEN),
)
_JWKS = _Doc(_AUTH, "Get the keys that sign tokens", "", _shape(schemas.KeysShape, examples.KEYS), is_open=True)


def routes(
    guard: Guard, processes: Processes, artifacts: ArtifactHandlers, files: FileHandlers, tokens: TokenHandlers
) -> Sequence[PlainRoute]:
    """In the order in which they are matched: the busiest first."""
    behind = guard.behind
    table: Sequence[tuple[str, str, Handler, _Doc]] = (
        ("POST", BASE, behind(processes.create), _CREATE),
        ("GET", BY_ID, behind(processes.get), _GET),
        ("GET", BASE, behind(processes.list), _LIST),
        ("GET", f"{BASE}/alive", behind(processes.alive), _ALIVE),
        ("GET", f"{BY_ID}/events", behind(processes.events), _EVENTS),
        ("GET", f"{BY_ID}/diff", behind(processes.diff), _DIFF),
        ("GET", f"{BY_ID}/artifacts", behind(artifacts.list), _ARTIFACTS),
        ("GET", f"{BY_ID}/artifacts/{{name}}/content", behind(artifacts.content), _ARTIFACT),
        ("PUT", f"{BY_ID}/credentials", behind(processes.update_credentials), _CREDENTIALS),
        ("PUT", f"{BY_ID}/claude-authentication", behind(processes.update_claude_authentication), _CLAUDE),
        ("PUT", f"{BY_ID}/kill", behind(processes.kill), _KILL),
        ("POST", "/files", behind(files.upload), _UPLOAD),
        ("GET", "/files", behind(files.list), _FILE_LIST),
        ("GET", "/files/by-id/{id}", behind(files.get), _FILE),
        ("DELETE", "/files/by-id/{id}", behind(files.delete), _DELETE),
        ("GET", "/files/by-id/{id}/content", behind(files.content), _CONTENT),
        ("POST", "/auth/token", behind(tokens.issue), _TOKEN),
        ("GET", "/.well-known/jwks.json", guard.open(tokens.jwks), _JWKS),
    )
    return [
        PlainRoute(path, handler, methods=[method], name=doc.summary, **doc.options())
        for method, path, handler, doc in table
    ]
