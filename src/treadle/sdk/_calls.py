"""The API's operations as values: what to send, and how to read the answer. Pure; both clients send them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx2

from treadle.sdk._diff import CodeDiff
from treadle.sdk._inputs import ClaudeAuthentication, SshKey, StepLike, Upload, ssh_key_base64, steps_json
from treadle.sdk._models import Artifact, Event, Process, ProcessStatus, StoredFile
from treadle.sdk._network import Network, network_json
from treadle.sdk._validation import Validation, validation_json
from treadle.sdk._wire import Fields, JsonValue, WireError

T = TypeVar("T")

#: One status, several, or None for any.
Statuses: TypeAlias = ProcessStatus | str | Collection[ProcessStatus | str] | None

PROCESSES = "/code-generation/processes"
FILES = "/files"

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
PATCH = "text/x-diff"


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. `json` may hold secrets."""

    method: str
    path: str
    accept: str = JSON
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    json: JsonValue = field(default=None, repr=False)
    upload: Upload | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request and the reader of its answer.

    `is_repeatable`: sending it twice does what sending it once does, so it may be sent again when the answer got lost.
    """

    request: Request
    read: Callable[[httpx2.Response], T]
    is_repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT for `Client(token=…)`, and when it ends."""

    access_token: str = field(repr=False)
    date_expires: datetime | None


def start(
    *,
    git_url: str,
    branch_source: str,
    branch_work: str,
    steps: Iterable[StepLike],
    git_ssh_key: SshKey | None,
    git_http_credentials: str | None,
    code_guidelines: str | None,
    file_ids: Iterable[UUID | str],
    generate_diff_on_completion: bool,
    engine: str,
    claude_authentication: ClaudeAuthentication | None,
    max_cost_usd: float | None,
    network: Network | None,
    validate: Validation | None,
    idempotency_key: str,
) -> Call[Process]:
    body: dict[str, JsonValue] = {
        "gitUrl": git_url,
        "branchSource": branch_source,
        "branchWork": branch_work,
        "steps": steps_json(steps),
        "fileIds": [str(file_id) for file_id in file_ids],
        "generateDiffOnCompletion": generate_diff_on_completion,
        "engine": str(engine),
        **_git_credentials(git_ssh_key, git_http_credentials),
    }
    if code_guidelines is not None:
        body["codeGuidelines"] = code_guidelines
    if claude_authentication is not None:
        body["claudeAuthentication"] = claude_authentication.to_json()
    if max_cost_usd is not None:
        body["maxCostUsd"] = max_cost_usd
    if network is not None:
        body["network"] = network_json(network)
    if validate is not None:
        body["validate"] = validation_json(validate)
    return Call(Request("POST", PROCESSES, headers={"Idempotency-Key": idempotency_key}, json=body), _process)


def get(process_id: UUID | str) -> Call[Process]:
    return Call(Request("GET", _by_id(PROCESSES, process_id)), _process)


def processes(status: Statuses, skip: int, limit: int | None) -> Call[list[Process]]:
    statuses = [status] if isinstance(status, str) else list(status or ())
    params = [("status", str(one)) for one in statuses]
    return Call(Request("GET", PROCESSES, params=(*params, *_page(skip, limit))), _processes)


def alive() -> Call[list[Process]]:
    return Call(Request("GET", f"{PROCESSES}/alive"), _processes)


def update_credentials(
    process_id: UUID | str, git_ssh_key: SshKey | None, git_http_credentials: str | None
) -> Call[None]:
    body = _git_credentials(git_ssh_key, git_http_credentials)
    return Call(Request("PUT", f"{_by_id(PROCESSES, process_id)}/credentials", json=body), _nothing)


def update_claude_authentication(process_id: UUID | str, authentication: ClaudeAuthentication) -> Call[None]:
    body: dict[str, JsonValue] = {"claudeAuthentication": authentication.to_json()}
    return Call(Request("PUT", f"{_by_id(PROCESSES, process_id)}/claude-authentication", json=body), _nothing)


def kill(process_id: UUID | str) -> Call[None]:
    return Call(Request("PUT", f"{_by_id(PROCESSES, process_id)}/kill"), _nothing)


def diff(process_id: UUID | str) -> Call[CodeDiff]:
    return Call(Request("GET", f"{_by_id(PROCESSES, process_id)}/diff"), _diff)


def patch(process_id: UUID | str) -> Call[bytes]:
    return Call(Request("GET", f"{_by_id(PROCESSES, process_id)}/diff", accept=PATCH), _content)


def artifacts(process_id: UUID | str) -> Call[list[Artifact]]:
    return Call(
        Request("GET", f"{_by_id(PROCESSES, process_id)}/artifacts"),
        lambda response: [Artifact.read(item) for item in _array(response)],
    )


def artifact(process_id: UUID | str, name: str) -> Call[bytes]:
    path = f"{_by_id(PROCESSES, process_id)}/artifacts/{quote(name, safe='')}/content"
    return Call(Request("GET", path, accept="*/*"), _content)


def event_stream(process_id: UUID | str, after: int) -> Request:
    headers = {"Cache-Control": "no-store", "Last-Event-ID": str(after)}
    return Request("GET", f"{_by_id(PROCESSES, process_id)}/events", accept=EVENT_STREAM, headers=headers)


def event_page(process_id: UUID | str, after: int, limit: int) -> Call[list[Event]]:
    params = (("after", str(after)), ("limit", str(limit)))
    return Call(Request("GET", f"{_by_id(PROCESSES, process_id)}/events", params=params), _events)


def upload(file: Upload) -> Call[StoredFile]:
    return Call(Request("POST", FILES, upload=file), lambda response: StoredFile.read(response.json()), False)


def files(skip: int, limit: int | None) -> Call[list[StoredFile]]:
    return Call(
        Request("GET", FILES, params=_page(skip, limit)),
        lambda response: [StoredFile.read(item) for item in _array(response)],
    )


def file(file_id: UUID | str) -> Call[StoredFile]:
    return Call(Request("GET", _by_id(FILES, file_id)), lambda response: StoredFile.read(response.json()))


def download(file_id: UUID | str) -> Call[bytes]:
    return Call(Request("GET", f"{_by_id(FILES, file_id)}/content", accept="*/*"), _content)


def delete_file(file_id: UUID | str) -> Call[None]:
    return Call(Request("DELETE", _by_id(FILES, file_id)), _nothing)


def token() -> Call[Token]:
    return Call(Request("POST", "/auth/token"), _token)


def _by_id(collection: str, identifier: UUID | str) -> str:
    return f"{collection}/by-id/{quote(str(identifier), safe='')}"


def _page(skip: int, limit: int | None) -> tuple[tuple[str, str], ...]:
    found = [("skip", str(skip))] if skip else []
    return (*found, ("limit", str(limit))) if limit is not None else tuple(found)


def _git_credentials(ssh_key: SshKey | None, http_credentials: str | None) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    if ssh_key is not None:
        found["gitSshKeyBase64"] = ssh_key_base64(ssh_key)
    if http_credentials is not None:
        found["gitHttpCredentials"] = http_credentials
    return found


def _array(response: httpx2.Response) -> list[object]:
    found = response.json()
    if not isinstance(found, list):
        raise WireError("The answer is no JSON array.")
    return found


def _process(response: httpx2.Response) -> Process:
    return Process.read(response.json())


def _processes(response: httpx2.Response) -> list[Process]:
    return [Process.read(item) for item in _array(response)]


def _events(response: httpx2.Response) -> list[Event]:
    return [Event.read(item) for item in _array(response)]


def _diff(response: httpx2.Response) -> CodeDiff:
    return CodeDiff.read(Fields(response.json(), "diff"))


def _token(response: httpx2.Response) -> Token:
    fields = Fields(response.json(), "token")
    return Token(fields.text("accessToken"), fields.date("dateExpires"))


def _content(response: httpx2.Response) -> bytes:
    return response.content


def _nothing(response: httpx2.Response) -> None:  # noqa: ARG001  # an answer without a body
    return None
