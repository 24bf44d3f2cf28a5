"""What the agent-run API tells of an organization, as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from treadle.sdk._agent_models import required_integer
from treadle.sdk._wire import Fields, JsonValue, WireError


@dataclass(frozen=True, slots=True)
class Organization:
    """One that the key's user belongs to. `opens_pull_requests`: at the end of a run; `detects_rules`: from files in
    the repository."""

    id: int
    name: str
    opens_pull_requests: bool
    detects_rules: bool

    @classmethod
    def read(cls, fields: Fields) -> "Organization":
        settings = fields.optional_object("settings")
        given = settings.raw if settings is not None else {}
        return cls(
            id=required_integer(fields, "id"),
            name=fields.text("name"),
            opens_pull_requests=given.get("enable_pr_creation") is not False,
            detects_rules=given.get("enable_rules_detection") is not False,
        )


@dataclass(frozen=True, slots=True)
class User:
    """A member. `role` is ADMIN, MANAGER or MEMBER."""

    id: int
    email: str | None
    name: str | None
    role: str | None
    github_username: str | None
    avatar_url: str | None

    @classmethod
    def read(cls, fields: Fields) -> "User":
        return cls(
            id=required_integer(fields, "id"),
            email=fields.optional_text("email"),
            name=fields.optional_text("full_name"),
            role=fields.optional_text("role"),
            github_username=fields.optional_text("github_username") or None,
            avatar_url=fields.optional_text("avatar_url"),
        )


@dataclass(frozen=True, slots=True)
class Repository:
    """A registered repository. `name` is its last part, `full_name` OWNER/NAME. `raw` is the JSON as it came."""

    id: int
    organization_id: int
    name: str
    full_name: str
    description: str | None
    visibility: str | None
    language: str | None
    is_archived: bool
    setup_status: str | None
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @classmethod
    def read(cls, fields: Fields) -> "Repository":
        return cls(
            id=required_integer(fields, "id"),
            organization_id=required_integer(fields, "organization_id"),
            name=fields.text("name"),
            full_name=fields.text("full_name"),
            description=fields.optional_text("description"),
            visibility=fields.optional_text("visibility"),
            language=fields.optional_text("language"),
            is_archived=fields.flag("archived"),
            setup_status=fields.optional_text("setup_status"),
            raw=fields.raw,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What every prompt is told."""

    organization: str | None
    user: str | None

    @classmethod
    def read(cls, fields: Fields) -> "Rules":
        return cls(fields.optional_text("organization_rules"), fields.optional_text("user_custom_prompt"))


@dataclass(frozen=True, slots=True)
class CheckSuiteSettings:
    """What becomes of a failed check on a branch that a run made. `retry_counts` and `custom_prompts` go by the check's
    name; `available_checks` are those seen so far."""

    retry_count: int
    ignored_checks: tuple[str, ...]
    retry_counts: Mapping[str, int]
    custom_prompts: Mapping[str, str]
    high_priority_apps: tuple[str, ...]
    available_checks: tuple[str, ...]

    @classmethod
    def read(cls, fields: Fields) -> "CheckSuiteSettings":
        counts, prompts = fields.optional_object("check_retry_counts"), fields.optional_object("custom_prompts")
        return cls(
            retry_count=required_integer(fields, "check_retry_count"),
            ignored_checks=_texts(fields, "ignored_checks"),
            retry_counts={name: counts.integer(name) for name in counts.raw} if counts is not None else {},
            custom_prompts={name: prompts.text(name) for name in prompts.raw} if prompts is not None else {},
            high_priority_apps=_texts(fields, "high_priority_apps"),
            available_checks=_texts(fields, "available_check_suite_names"),
        )


@dataclass(frozen=True, slots=True)
class Integration:
    """What the organization is connected with. `type` is such as `github`."""

    type: str
    is_active: bool
    token_id: int | None
    installation_id: int | None
    metadata: Mapping[str, JsonValue] = field(repr=False)

    @classmethod
    def read(cls, fields: Fields) -> "Integration":
        metadata = fields.optional_object("metadata")
        return cls(
            type=fields.text("integration_type"),
            is_active=fields.flag("active"),
            token_id=fields.optional_integer("token_id"),
            installation_id=fields.optional_integer("installation_id"),
            metadata=metadata.raw if metadata is not None else {},
        )


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    found = fields.array(name)
    texts = tuple(item for item in found if isinstance(item, str))
    if len(texts) != len(found):
        raise WireError(f"{name} holds something else than texts.")
    return texts
