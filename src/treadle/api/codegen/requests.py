"""What the agent-run API takes. What a body holds besides is ignored, as the original did; numbers may be written as
texts, as it allowed too."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from treadle.api.bodies import header
from treadle.api.codegen.parsing import Unprocessable, fault, read_query
from treadle.domain.events import is_deeper
from treadle.domain.network import NetworkPolicy
from treadle.domain.run import RunSource
from treadle.domain.validation import ValidationRules
from treadle.services.agents import AgentRequest, AgentType
from treadle.services.check_suites import MAX_CHECKS, MAX_RETRIES, CheckSuiteChange
from treadle.services.images import MAX_IMAGES
from treadle.services.run_rules import cost_fault

MAX_PAGE = 100
MAX_IDEMPOTENCY_KEY = 255

#: A request with images may be longer than others, in bytes.
MAX_IMAGES_BYTES = 32 * 1024 * 1024

#: Of a run's metadata, in characters of its JSON, and how deep it may be nested.
MAX_METADATA_BYTES = 64 * 1024
MAX_METADATA_DEPTH = 100

#: No list is longer; a database would not count further.
_LAST_SKIP = 2**31 - 1 - MAX_PAGE


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def _at_most(most: int) -> BeforeValidator:
    """Of a list or an object, before its entries are looked at: each faulty one is a fault, and millions fit a body."""

    def check(value: object) -> object:
        if isinstance(value, list | dict) and len(value) > most:
            raise PydanticCustomError(
                "too_long", "Must have at most {most} entries, not {given}", {"most": most, "given": f"{len(value):,}"}
            )
        return value

    return BeforeValidator(check)


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if is_deeper(value, MAX_METADATA_DEPTH):
        raise PydanticCustomError(
            "too_deep", "Metadata must be nested at most {most} deep", {"most": MAX_METADATA_DEPTH}
        )
    if len(json.dumps(value, separators=(",", ":"))) > MAX_METADATA_BYTES:
        raise PydanticCustomError(
            "too_long", "Metadata must be at most {most} bytes of JSON", {"most": MAX_METADATA_BYTES}
        )
    return value


def _cost(value: float) -> float:
    if said := cost_fault(value):
        raise PydanticCustomError("value_error", "{said}", {"said": said.rstrip(".")})
    return value


def _network(value: object) -> NetworkPolicy:
    try:
        return NetworkPolicy.read(value)
    except ValueError as error:
        raise PydanticCustomError("value_error", "{said}", {"said": str(error).rstrip(".")}) from None


def _rules(value: object) -> ValidationRules:
    try:
        return ValidationRules.read(value)
    except ValueError as error:
        raise PydanticCustomError("value_error", "{said}", {"said": str(error).rstrip(".")}) from None


Cost = Annotated[float, BeforeValidator(_no_boolean), AfterValidator(_cost)]
Network = Annotated[
    NetworkPolicy, PlainValidator(_network), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})
]
Rules = Annotated[
    ValidationRules, PlainValidator(_rules), WithJsonSchema({"anyOf": [{"type": "array"}, {"type": "object"}]})
]
Number = Annotated[int, BeforeValidator(_no_boolean)]
Images = Annotated[list[str] | None, _at_most(MAX_IMAGES)]


class PageQuery(BaseModel):
    skip: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE

    @property
    def reach(self) -> int:
        """`skip` as a database takes it."""
        return min(self.skip, _LAST_SKIP)


class RunsQuery(PageQuery):
    user_id: int | None = None
    source_type: RunSource | None = None


class LogsQuery(PageQuery):
    reverse: bool = False


class RepositoryQuery(BaseModel):
    repo_id: int


class OrganizationQuery(BaseModel):
    org_id: int


class RevokeQuery(OrganizationQuery):
    provider: str


def read_page(request: Request) -> PageQuery:
    """`skip` and `limit`, or the `page` and `size` that some clients send. Raises Unprocessable."""
    return read_query(request, PageQuery, _paged(request))


def read_runs_page(request: Request) -> RunsQuery:
    """Raises Unprocessable."""
    return read_query(request, RunsQuery, _paged(request))


def _paged(request: Request) -> dict[str, str]:
    """The original ignored these two, so that no value of theirs is a fault."""
    page, size = (_small(request.query_params.get(name, "")) for name in ("page", "size"))
    limit = size if size is not None and size <= MAX_PAGE else None
    found = {} if limit is None else {"limit": str(limit)}
    return found if page is None else {**found, "skip": str((page - 1) * (limit or MAX_PAGE))}


def _small(text: str) -> int | None:
    return int(text) or None if text.isascii() and text.isdecimal() and len(text) <= 9 else None  # noqa: PLR2004 - digits


class CreateAgentRunInput(BaseModel):
    """`images`: data URIs of PNG, JPEG, GIF or WebP. `repo_id`: else the organization's default repository, or its only
    one. `model` and `agent_type`: else the organization's. `max_cost_usd`: what the model may cost; else the
    organization's default. `network`: "none", "model", "full" or {"allow": [hosts]}; else as the repository says, or
    the service. `validate`: shell commands that must pass before a commit, ["make test"] or {"commands": ["make test"],
    "tries": 1}; else as the repository says."""

    prompt: str
    images: Images = None
    metadata: Annotated[dict[str, Any], AfterValidator(_metadata)] | None = None
    repo_id: Number | None = None
    model: str | None = None
    agent_type: Literal["codegen", "claude_code"] | None = None
    max_cost_usd: Cost | None = None
    network: Network | None = None
    validation: Annotated[Rules | None, Field(alias="validate")] = None

    def request(self) -> AgentRequest:
        """Raises Unprocessable."""
        return AgentRequest(
            prompt=self.prompt,
            images=self.images or (),
            metadata=self.metadata,
            repository_id=self.repo_id,
            model=self.model,
            agent_type=AgentType(self.agent_type) if self.agent_type is not None else None,
            max_cost_usd=self.max_cost_usd,
            network=self.network,
            validation=self.validation,
        )


class ResumeAgentRunInput(BaseModel):
    """`max_cost_usd`: a budget in the place of the run's, for all that it has cost and will."""

    agent_run_id: Number
    prompt: str
    images: Images = None
    max_cost_usd: Cost | None = None


class StopAgentRunInput(BaseModel):
    """The two order ids placed a card on a board; here they do nothing."""

    agent_run_id: Number
    before_card_order_id: str | None = None
    after_card_order_id: str | None = None


class CheckSuiteSettingsRequest(BaseModel):
    """What is null or not there stays as it is."""

    check_retry_count: Annotated[Number, Field(ge=0, le=MAX_RETRIES)] | None = None
    ignored_checks: Annotated[list[str] | None, _at_most(MAX_CHECKS)] = None
    check_retry_counts: Annotated[dict[str, Number] | None, _at_most(MAX_CHECKS)] = None
    custom_prompts: Annotated[dict[str, str] | None, _at_most(MAX_CHECKS)] = None
    high_priority_apps: Annotated[list[str] | None, _at_most(MAX_CHECKS)] = None

    def change(self) -> CheckSuiteChange:
        return CheckSuiteChange(
            retry_count=self.check_retry_count,
            ignored_checks=self.ignored_checks,
            retry_counts=self.check_retry_counts,
            custom_prompts=self.custom_prompts,
            high_priority_apps=self.high_priority_apps,
        )


class EditPRInput(BaseModel):
    state: Literal["open", "closed", "draft", "ready_for_review"]


class GenerateSetupCommandsInput(BaseModel):
    repo_id: Number
    prompt: str | None = None
    trigger_source: str = "setup-commands"


class GenerateTokenRequest(BaseModel):
    org_id: Number


class LocalSessionInput(BaseModel):
    """`session_id`: what the CLI calls its session."""

    session_id: str


class LocalSessionStatusInput(BaseModel):
    status: str


class LocalSessionLogInput(BaseModel):
    """`log`: a line of the CLI's, as it is."""

    log: dict[str, Any]


def idempotency_key(request: Request) -> str | None:
    """The header that makes a repeated call the same run. Raises Unprocessable."""
    key = header(request, b"idempotency-key", "\0")
    if key == "\0":  # which no header holds
        return None
    if not (0 < len(key) <= MAX_IDEMPOTENCY_KEY and key.isascii() and key.isprintable()):
        said = f"Must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"
        raise Unprocessable([fault(("header", "Idempotency-Key"), said)])
    return key
