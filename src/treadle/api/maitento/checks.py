"""What no field can say of itself: counts, and fields that contradict each other. Works on faulty bodies too, so that
every fault is named at once."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from treadle.api.maitento.faults import Faults, Reading, add
from treadle.api.maitento.requests import (
    ClaudeAuthenticationBody,
    ClaudeAuthenticationUpdateBody,
    CredentialsBody,
    ProcessBody,
)
from treadle.domain.credentials import ClaudeSource
from treadle.domain.git_url import check_url, split_credentials
from treadle.domain.run import EngineName
from treadle.services.run_rules import files_fault, steps_fault
from treadle.services.runs import engine_fault

#: How many file ids the store is asked about when there are too many.
MAX_ASKED = 1000

_API_KEY = "apiKey"
_LICENSE = (
    "oAuthAccessToken",
    "oAuthRefreshToken",
    "oAuthExpiresAt",
    "oAuthScopes",
    "oAuthSubscriptionType",
)

_SOURCES = {str(source): source for source in ClaudeSource}

#: What each source needs, and may come with.
_FIELDS: Mapping[ClaudeSource, tuple[str | None, Sequence[str]]] = {
    ClaudeSource.DEFAULT: (None, ()),
    ClaudeSource.CLIENT_API_KEY: (_API_KEY, (_API_KEY,)),
    ClaudeSource.CLIENT_LICENSE: (_LICENSE[0], _LICENSE),
}


def check_process(reading: Reading[ProcessBody], *, allow_local: bool) -> None:
    """Adds its faults to the reading's."""
    values, faults = reading.values, reading.faults
    url = values.get("git_url")
    if url is not None:
        if said := check_url(url, allow_local):
            add(faults, "gitUrl", said)
        if _gives_credentials(reading) and split_credentials(url)[1] is not None:
            add(faults, "gitUrl", "Holds credentials, and the request gives others: give them once.")
    _check_both(reading)
    if (source := values.get("branch_source")) is not None and source == values.get("branch_work"):
        add(faults, "branchWork", "Must differ from branchSource.")
    steps = values.get("steps")
    if steps is not None and (said := steps_fault(len(steps))):
        add(faults, "steps", said)
    _check_file_ids(values.get("file_ids") or (), faults)
    _check_claude(values.get("claude_authentication"), values.get("engine"), faults)


def check_credentials(reading: Reading[CredentialsBody]) -> None:
    """Adds its faults to the reading's."""
    _check_both(reading)
    if not _gives_credentials(reading) and not reading.faults:
        add(reading.faults, "$", "Give gitHttpCredentials or gitSshKeyBase64.")


def check_claude_update(reading: Reading[ClaudeAuthenticationUpdateBody]) -> None:
    """Adds its faults to the reading's."""
    _check_claude(reading.values.get("claude_authentication"), None, reading.faults)


def file_ids_in(values: Mapping[str, Any]) -> Sequence[UUID | None]:
    """The ids that are such, at their places; None stands for what is none."""
    return [_uuid(value) for value in (values.get("file_ids") or ())[:MAX_ASKED]]


def _gives_credentials(reading: Reading[ProcessBody] | Reading[CredentialsBody]) -> bool:
    return reading.has("git_http_credentials") or reading.has("git_ssh_key_base64")


def _check_both(reading: Reading[ProcessBody] | Reading[CredentialsBody]) -> None:
    if reading.has("git_http_credentials") and reading.has("git_ssh_key_base64"):
        add(reading.faults, "gitHttpCredentials", "Give this or gitSshKeyBase64, not both.")
        add(reading.faults, "gitSshKeyBase64", "Give this or gitHttpCredentials, not both.")


def _check_file_ids(file_ids: Sequence[object], faults: Faults) -> None:
    if said := files_fault(len(file_ids)):
        add(faults, "fileIds", said)
    seen = dict[UUID, int]()
    for at, value in enumerate(file_ids[:MAX_ASKED]):
        file_id = _uuid(value)
        if file_id is None:
            continue
        first = seen.setdefault(file_id, at)
        if first != at:
            add(faults, f"fileIds[{at}]", f"Is the same as fileIds[{first}].")


def _check_claude(
    claude: ClaudeAuthenticationBody | Mapping[str, object] | None, engine: EngineName | None, faults: Faults
) -> None:
    if claude is None:
        return
    fields = (
        claude.model_dump(by_alias=True, exclude_none=True)
        if isinstance(claude, ClaudeAuthenticationBody)
        else {name: value for name, value in claude.items() if value is not None}
    )
    source = _SOURCES.get(str(fields.get("source")))
    if source is None:
        return  # which is a fault that is already named, and nothing follows from it
    needed, allowed = _FIELDS[source]
    if needed is not None and needed not in fields:
        add(faults, f"claudeAuthentication.{needed}", f"Is required with the source {source}.")
    for name in (_API_KEY, *_LICENSE):
        if name in fields and name not in allowed:
            add(faults, f"claudeAuthentication.{name}", f"Does not go with the source {source}.")
    if engine is not None and (said := engine_fault(engine, source)):
        add(faults, "claudeAuthentication.source", said)


def _uuid(value: object) -> UUID | None:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
