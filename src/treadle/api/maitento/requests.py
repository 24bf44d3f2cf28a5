"""What the code-generation API takes: the shapes, their limits (counted in characters), and what they mean."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    Strict,
)
from pydantic import WithJsonSchema as Documented
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from treadle.domain.credentials import ClaudeSource, EngineCredential, GitCredentials, OAuthLicense
from treadle.domain.git_url import check_branch, split_credentials
from treadle.domain.network import MAX_HOSTS, NetworkPolicy
from treadle.domain.run import EngineName, RunDraft, StepDraft
from treadle.domain.validation import MAX_COMMAND, MAX_COMMANDS, MAX_TRIES, ValidationRules
from treadle.services.credentials import read_ssh_key
from treadle.services.run_rules import (
    MAX_BRANCH,
    MAX_COST_USD,
    MAX_FILES,
    MAX_GUIDELINES,
    MAX_HTTP_CREDENTIALS,
    MAX_SSH_KEY,
    MAX_STEPS,
    MAX_TOKEN,
    MAX_URL,
    blank_fault,
    cost_fault,
    one_line_fault,
    text_fault,
    token_fault,
)
from treadle.services.runs import RunRequest

MAX_SCOPE = 200


def _fault(said: str) -> PydanticCustomError:
    # Braces would be read as places for a context.
    return PydanticCustomError("treadle", "{said}", {"said": said})


def _held_to(rule: Callable[[str], str | None]) -> AfterValidator:
    def check(value: str) -> str:
        if said := rule(value):
            raise _fault(said)
        return value

    return AfterValidator(check)


_text, _not_blank, _one_line, _token, _branch = map(
    _held_to, (text_fault, blank_fault, one_line_fault, token_fault, check_branch)
)


def _ssh_key(value: str) -> str:
    try:
        return read_ssh_key(value)
    except ValueError as error:
        raise _fault(str(error)) from None


def _date_text(value: object) -> object:
    if not isinstance(value, str):
        raise _fault("Must be a date and time of ISO 8601.")
    return value


def _cost(value: float) -> float:
    if said := cost_fault(value):
        raise _fault(said)
    return value


def _network(value: object) -> NetworkPolicy:
    try:
        return NetworkPolicy.read(value)
    except ValueError as error:
        raise _fault(str(error)) from None


def _rules(value: object) -> ValidationRules:
    try:
        return ValidationRules.read(value)
    except ValueError as error:
        raise _fault(str(error)) from None


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


Text = Annotated[str, Strict(), Field(min_length=1), _text, _not_blank]
Url = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_URL), _text]
Branch = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_BRANCH), _text, _branch]
Guidelines = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_GUIDELINES), _text]
SshKey = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_SSH_KEY), AfterValidator(_ssh_key)]
HttpCredentials = Annotated[
    str,
    Strict(),
    Field(min_length=1, max_length=MAX_HTTP_CREDENTIALS),
    _text,
    _one_line,
]
Token = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_TOKEN), _token]
Scope = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_SCOPE), _token]
Flag = Annotated[bool, Strict()]
Date = Annotated[datetime, BeforeValidator(_date_text), AfterValidator(_in_utc)]

Cost = Annotated[float, Strict(), AfterValidator(_cost)]
Network = Annotated[
    NetworkPolicy,
    PlainValidator(_network),
    PlainSerializer(NetworkPolicy.json),
    Documented(
        {
            "anyOf": [
                {"type": "string", "enum": ["none", "model", "full"]},
                {
                    "type": "object",
                    "required": ["allow"],
                    "properties": {
                        "allow": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_HOSTS}
                    },
                    "additionalProperties": False,
                },
            ]
        }
    ),
]

_COMMANDS: Final[dict[str, JsonValue]] = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": MAX_COMMAND},
    "maxItems": MAX_COMMANDS,
}
Rules = Annotated[
    ValidationRules,
    PlainValidator(_rules),
    PlainSerializer(ValidationRules.json),
    Documented(
        {
            "anyOf": [
                _COMMANDS,
                {
                    "type": "object",
                    "required": ["commands"],
                    "properties": {
                        "commands": _COMMANDS,
                        "tries": {"type": "integer", "minimum": 0, "maximum": MAX_TRIES},
                    },
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class _Body(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=False, serialize_by_alias=True
    )


class StepBody(_Body):
    """One instruction."""

    step: Text = Field(description="What to do, in your own words.", examples=["Add unit tests for UserService"])
    is_commitable_step: Flag = Field(
        True, description="Analysis, implementation and validation, then a commit; false: one prompt, nothing changes."
    )
    is_structured_output: Flag = Field(False, description="Ask for `structuredOutput`.")


class ClaudeAuthenticationBody(_Body):
    """Whose account pays for the model."""

    source: ClaudeSource = Field(description="`ClientApiKey` needs apiKey, `ClientLicense` needs oAuthAccessToken.")
    api_key: Token | None = Field(
        None, repr=False, description="An API key; `000-dummy` calls no model.", examples=["000-dummy"]
    )
    o_auth_access_token: Token | None = Field(None, repr=False, description="A Claude Pro or Max access token.")
    o_auth_refresh_token: Token | None = Field(None, repr=False, description="Lets the CLI renew the access token.")
    o_auth_expires_at: Date | None = Field(None, description="When the access token ends.")
    o_auth_scopes: list[Scope] | None = Field(None, examples=[["user:inference", "user:profile"]])
    o_auth_subscription_type: Scope | None = Field(None, examples=["max"])


class ProcessBody(_Body):
    """A process to start."""

    git_url: Url = Field(
        repr=False,  # may hold credentials
        description="https, http, ssh or user@host:path. Credentials in it are taken out and kept sealed.",
        examples=["https://git.example/acme/shop.git"],
    )
    git_ssh_key_base64: SshKey | None = Field(
        None, alias="gitSshKeyBase64", repr=False, description="Base64 of a private key without a passphrase."
    )
    git_http_credentials: HttpCredentials | None = Field(
        None, repr=False, description="`user:password`, or a bare token."
    )
    branch_source: Branch = Field(description="Where the work starts.", examples=["main"])
    branch_work: Branch = Field(description="Where it is committed; made if missing.", examples=["feature/tests"])
    steps: list[StepBody] = Field(
        description="Done in order, on one conversation.", json_schema_extra={"minItems": 1, "maxItems": MAX_STEPS}
    )
    code_guidelines: Guidelines | None = Field(None, description="Put before the first prompt.")
    file_ids: list[UUID] | None = Field(
        None, description="Uploaded files to show the engine.", json_schema_extra={"maxItems": MAX_FILES}
    )
    generate_diff_on_completion: Flag | None = Field(None, description="Whether `diff` is in the finished process.")
    engine: EngineName | None = Field(None, description="`Claude` when left out.")
    claude_authentication: ClaudeAuthenticationBody | None = Field(
        None, description="null: the system's key. With the engine Kimi, apiKey is a key of Kimi's."
    )
    max_cost_usd: Cost | None = Field(
        None,
        description="US dollars that the model may cost; past them the process is Failed, its work kept. null: the "
        "tenant's default.",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": MAX_COST_USD},
        examples=[2.5],
    )
    network: Network | None = Field(
        None,
        description='What its commands may connect to: "none", "model" (the model alone), {"allow": ["example.com"]} '
        '(that and these hosts) or "full". null: as the repository says, else the service.',
    )

    validation: Rules | None = Field(
        None,
        alias="validate",
        description="Shell commands that must pass before a step is committed, after its validation; what fails goes "
        'back to the engine, up to `tries` times (3): ["make test"], or {"commands": ["make test"], "tries": 1}. null: '
        "as the repository says; []: none.",
        examples=[["make test"]],
    )

    @property
    def asked(self) -> str:
        """As JSON. What was added later is in it only where it was given: a repeated call may have another version
        before it."""
        added = {name for name in ("max_cost_usd", "network", "validation") if getattr(self, name) is None}
        return self.model_dump_json(exclude=added)


class CredentialsBody(_Body):
    """Other Git credentials; exactly one."""

    git_ssh_key_base64: SshKey | None = Field(None, alias="gitSshKeyBase64", repr=False)
    git_http_credentials: HttpCredentials | None = Field(None, repr=False)


class ClaudeAuthenticationUpdateBody(_Body):
    """Another account to pay; null: the system's."""

    claude_authentication: ClaudeAuthenticationBody | None


def run_request(body: ProcessBody) -> RunRequest:
    """What a body without faults asks for."""
    url, in_url = split_credentials(body.git_url) if "@" in body.git_url else (body.git_url, None)
    return RunRequest(
        draft=RunDraft(
            git_url=url,
            branch_source=body.branch_source,
            branch_work=body.branch_work,
            steps=tuple(
                StepDraft(step.step, is_commitable=step.is_commitable_step, is_structured=step.is_structured_output)
                for step in body.steps
            ),
            code_guidelines=body.code_guidelines,
            file_ids=tuple(body.file_ids or ()),
            generate_diff=body.generate_diff_on_completion or False,
            engine=body.engine or EngineName.CLAUDE,
            max_cost_usd=body.max_cost_usd,
            network=body.network,
            validation=body.validation,
        ),
        git=GitCredentials(http=body.git_http_credentials or in_url, ssh_key=body.git_ssh_key_base64),
        claude=engine_credential(body.claude_authentication),
    )


def engine_credential(body: ClaudeAuthenticationBody | None) -> EngineCredential | None:
    """None: the system's key."""
    if body is None or body.source is ClaudeSource.DEFAULT:
        return None
    if body.source is ClaudeSource.CLIENT_API_KEY:
        return EngineCredential(ClaudeSource.CLIENT_API_KEY, api_key=body.api_key)
    return EngineCredential(
        ClaudeSource.CLIENT_LICENSE,
        license=OAuthLicense(
            access_token=body.o_auth_access_token or "",
            refresh_token=body.o_auth_refresh_token,
            expires_at=body.o_auth_expires_at,
            scopes=tuple(body.o_auth_scopes or ()),
            subscription_type=body.o_auth_subscription_type,
        ),
    )
