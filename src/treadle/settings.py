"""Every setting, described in one place. Only entry points read the environment, through `Settings.load`."""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails

from treadle.domain.errors import ConfigurationError
from treadle.domain.network import NetworkPolicy
from treadle.domain.own_prices import PRICE_SHAPE, parse_prices
from treadle.domain.prices import Price
from treadle.domain.sizes import parse_size

PREFIX = "TREADLE_"

#: Read by the SDK and the CLI, not by the service: where it is, the caller's key, and a token to register.
CLIENT_NAMES = frozenset({"TREADLE_URL", "TREADLE_API_KEY", "TREADLE_FORGE_TOKEN"})

#: What Git needs of the service's environment to get out of a company's network.
GIT_NAMES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)

#: What a container runtime needs of it, to find its own files and its daemon.
CONTAINER_NAMES = (
    *("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"),
    *("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "STORAGE_DRIVER", "STORAGE_OPTS"),
    *("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
)

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _rate(default: str, what: str) -> Any:
    return Field(
        default,
        pattern=r"^(0|[1-9]\d{0,3}/[1-9]\d{0,4})$",
        description=f"Requests/seconds for each key {what}; 0: no limit.",
    )


class Settings(BaseModel):
    """`TREADLE_<NAME>` of the environment; each description is the documentation's."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    data_dir: Path = Field(
        Path("~/.local/share/treadle"), description="Everything local: database, files, mirrors, workspaces."
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of the database; unset: SQLite in the data directory."
    )
    database_connections: int = Field(
        10, ge=2, le=500, description="Connections to PostgreSQL that a process uses at most, besides two that listen."
    )
    broker_url: SecretStr | None = Field(
        None,
        description="RabbitMQ, `amqp://user:password@host/vhost`; unset: the database itself wakes workers.",
    )
    blob_url: str | None = Field(
        None,
        description="Where bytes are kept, `file:///path` or `s3://bucket/prefix`; unset: in the data directory.",
    )
    s3_endpoint: str | None = Field(
        None, description="Address of an S3-compatible service, `https://host`; unset: the one of AWS."
    )
    s3_region: str | None = Field(None, description="Its region; unset: as AWS's own variables say, else `us-east-1`.")
    s3_access_key_id: str | None = Field(
        None, description="Its key; unset: as AWS's own variables, or the machine's role, say."
    )
    s3_secret_access_key: SecretStr | None = Field(None, description="The secret to that key.")
    bootstrap_api_key: SecretStr | None = Field(
        None, min_length=16, description="API key of the first admin, in place of a random one printed once."
    )
    secret_key: SecretStr | None = Field(None, description="Base64 of the 32 bytes that seal secrets at rest.")
    secret_key_file: Path | None = Field(
        None, description="File with that key; unset: made in the data directory, mode 0600."
    )
    secret_key_command: str | None = Field(
        None, description="Command that prints that key, such as the client of a key store."
    )
    public_url: str | None = Field(None, description="The service's address as its users see it, for links.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8417, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")

    claude_cli: Path | None = Field(
        None, description="The Claude Code CLI; unset: PATH, then the one of the extra `claude`."
    )
    kimi_cli: Path | None = Field(None, description="The Kimi Code CLI (an executable or its main.mjs); unset: PATH.")
    claude_base_url: str | None = Field(None, description="Address of the Anthropic API; unset: the vendor's.")
    kimi_base_url: str = Field(
        "https://api.moonshot.ai/v1", description="Address of the OpenAI-compatible API for Kimi."
    )
    claude_api_key: SecretStr | None = Field(None, description="The system's key, for runs that bring none.")
    kimi_api_key: SecretStr | None = Field(None, description="The system's key for Kimi.")
    claude_token_url: str = Field(
        "https://platform.claude.com/v1/oauth/token", description="Where the tokens of Claude licenses are refreshed."
    )
    claude_model: str | None = Field(None, description="Model of Claude runs; unset: the CLI's default.")
    kimi_model: str = Field("kimi-k2-turbo-preview", description="Model of Kimi runs.")

    engine_path: str = Field(
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        description="PATH of the engines and the agents' tools; unset: the service's own PATH, or this.",
    )

    slots: int = Field(4, ge=1, le=1000, description="Runs at once in a worker.")
    organization_slots: int | None = Field(
        None,
        ge=1,
        description="Runs at once of an organization that has no number of its own (`treadle admin org limit`); "
        "unset: as many as there are slots.",
    )
    lease_seconds: Seconds = Field(
        30, description="A worker that is silent for this long has lost its runs; it pings at least every third of it."
    )
    phase_seconds: Seconds = Field(900, description="Longest time for one phase's engine call.")
    idle_seconds: Seconds = Field(300, description="Longest silence of an engine within a phase.")
    retry_seconds: tuple[float, ...] = Field(
        (2.5, 5, 7.5), description="Delays before each further try of an engine call."
    )
    git_retry_seconds: tuple[float, ...] = Field(
        (1, 3, 10), description="Pauses before each further try when a Git host cannot be reached or breaks off."
    )
    git_seconds: Seconds = Field(600, description="Longest time for one Git command.")
    kill_grace_seconds: float = Field(2, ge=0, le=4, description="Time between SIGTERM and SIGKILL for an engine.")
    drain_seconds: Seconds = Field(20, description="Time to hand runs over at shutdown.")
    max_lost_workers: int = Field(3, ge=1, description="A run that lost this many workers fails.")
    poll_seconds: Seconds = Field(
        1, description="How often a process looks for work and events that others left in the database."
    )
    min_free_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="A worker takes no new run while its data directory's disk has less free space than this.",
    )

    keep_events_days: float | None = Field(
        None, ge=0, description="`treadle prune` removes events of runs that ended longer ago; unset: never for age."
    )
    keep_events_bytes: int | None = Field(
        None,
        ge=0,
        description="And of the longest ended runs until all take no more than this, say `10G`; unset: never for size.",
    )
    keep_artifacts_days: float | None = Field(None, ge=0, description="The same for artifacts, diffs among them.")
    keep_artifacts_bytes: int | None = Field(None, ge=0, description="The same for artifacts.")
    keep_mirrors_days: float | None = Field(
        None, ge=0, description="The same for mirrors on this machine that no run has used for longer."
    )
    keep_mirrors_bytes: int | None = Field(
        None, ge=0, description="The same for mirrors, the longest unused ones first."
    )

    operations_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port for `/metrics`, `/healthz` and `/readyz` without a key, of workers too; unset: none.",
    )
    operations_host: str = Field("127.0.0.1", description="Address for that port.")
    otlp_endpoint: str | None = Field(
        None, description="OpenTelemetry collector for traces, `http://host:4318`; unset: no traces."
    )

    allow_local_repositories: bool = Field(False, description="Accept `file` URLs and plain paths through the API.")
    smtp_url: SecretStr | None = Field(
        None,
        description="Server for e-mail, `smtp://user:password@host:587` (turns to TLS; `?tls=no` does not) or "
        "`smtps://…`; unset: no e-mail.",
    )
    smtp_from: str | None = Field(None, description="Address that e-mails come from; unset: `treadle@` that server.")
    allow_private_hosts: bool = Field(
        False, description="Accept Git and webhook hosts on private and loopback addresses."
    )
    sandbox: Literal["bubblewrap", "container", "none"] | None = Field(
        None,
        description="What engines run in; unset: the best that works. Without one the service starts only with `none`.",
    )
    sandbox_image: str | None = Field(
        None, description="Image of the sandbox `container`; it holds Python, Git and the agents' tools, not the CLIs."
    )
    sandbox_runtime: str | None = Field(
        None, description="What runs it: `podman`, `docker` or a path; unset: the first of these on the PATH."
    )
    sandbox_environment: dict[str, str] = Field(
        {},
        description="JSON of variables for that runtime, never for what runs in it; unset: the service's own `HOME`, "
        "`XDG_…`, `DOCKER_…`, `CONTAINERS_…`.",
    )
    sandbox_memory_bytes: int = Field(
        8 * 1024**3, ge=0, description="Memory of an engine's call and all that it starts, together; 0: no limit."
    )
    sandbox_processes: int = Field(2048, ge=0, description="Processes and threads of it, together; 0: no limit.")
    sandbox_file_bytes: int = Field(4 * 1024**3, ge=0, description="Largest file that it may write; 0: no limit.")
    sandbox_disk_bytes: int = Field(
        20 * 1024**3, ge=0, description="What it may have on the disk: work tree, home, its own state; 0: no limit."
    )
    sandbox_cpu_seconds: int = Field(
        7200, ge=0, description="Processor time of an engine's call and all that it starts; 0: no limit."
    )
    network: str = Field(
        "model",
        description="What runs may connect to, where neither they nor their repository say: `none`, `model`, "
        "`allow:HOST,…` or `full`.",
    )
    egress_private_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts on private addresses that a network policy may allow all the same, such as a mirror of "
        "packages.",
    )
    prices: Mapping[str, Price] = Field(
        {},
        description="JSON of US dollars for a million tokens by the beginning of a model's name: "
        f"`{PRICE_SHAPE}`, the last two as you like; laid over the vendors' list prices.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="Addresses or networks of the proxies before this service, whose `X-Forwarded-For` is believed.",
    )
    git_environment: dict[str, str] = Field(
        {},
        description="JSON of variables for Git; unset: the service's own for proxies and certificates.",
    )
    git_author_name: str = Field("Treadle", min_length=1, description="Author and committer of the steps' commits.")
    git_author_email: str = Field("treadle@localhost", min_length=3, description="Their e-mail address.")
    submodules: bool = Field(
        False, description="Put the files of submodules in place for the engines, to read and build; never to change."
    )

    rate_limit_code_generation: str = _rate("0", "on the code-generation API")
    rate_limit_standard: str = _rate("60/30", "on the agent-run API, where nothing else is said")
    rate_limit_create: str = _rate("10/60", "to create and resume agent runs")
    rate_limit_setup: str = _rate("5/60", "to generate setup commands")
    rate_limit_analysis: str = _rate("5/60", "to analyse the logs of a sandbox")
    rate_limit_logs: str = _rate("60/60", "for the logs of an agent run")
    rate_limit_pulls: str = _rate("30/60", "to edit pull requests")
    rate_limit_rules: str = _rate("30/60", "for the rules of `/cli/rules`")
    setup_seconds: Seconds = Field(1800, description="Longest time for a repository's setup commands.")
    validate_seconds: Seconds = Field(1800, description="Longest time for one validation command.")
    setup_cache_bytes: int = Field(
        2 * 1024 * 1024 * 1024,
        ge=0,
        description="Largest result of setup commands that is kept to be used again; 0: none is kept.",
    )
    max_file_bytes: int = Field(50 * 1024 * 1024, ge=1, description="Largest upload.")
    max_request_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="Largest JSON request.")
    jwt_issuers: str | None = Field(
        None, description='Other token issuers: JSON `[{"issuer": …, "jwksUrl": …, "audience": …}]`.'
    )
    oidc_issuer: str | None = Field(
        None, description="OpenID Connect provider to sign in at, `https://login.example`; unset: none."
    )
    oidc_client_id: str | None = Field(None, description="This service's id there.")
    oidc_client_secret: SecretStr | None = Field(None, description="The secret to that id.")
    oidc_name: str = Field("single sign-on", min_length=1, max_length=60, description="What the button calls it.")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="Log lines: text on a terminal, else JSON.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")

    @field_validator("data_dir", "secret_key_file", "claude_cli", "kimi_cli")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @field_validator(
        "min_free_bytes",
        "keep_events_bytes",
        "keep_artifacts_bytes",
        "keep_mirrors_bytes",
        "setup_cache_bytes",
        "sandbox_memory_bytes",
        "sandbox_file_bytes",
        "sandbox_disk_bytes",
        mode="before",
    )
    @classmethod
    def _size(cls, value: object) -> object:
        return parse_size(value) if isinstance(value, str) else value

    @field_validator("network")
    @classmethod
    def _policy(cls, value: str) -> str:
        return str(NetworkPolicy.parse(value))

    @field_validator("egress_private_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return [part for part in re.split(r"[,\s]+", value) if part] if isinstance(value, str) else value

    @field_validator("prices", mode="before")
    @classmethod
    def _prices(cls, value: object) -> object:
        return parse_prices(value) if isinstance(value, str) else value

    @field_validator("git_environment", "sandbox_environment", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("retry_seconds", "git_retry_seconds", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @classmethod
    def table(cls) -> list[tuple[str, str, str]]:
        """(name, default, description) of every setting, for the documentation and `treadle doctor`."""
        return [
            (PREFIX + name.upper(), _shown(field.default), field.description or "")
            for name, field in cls.model_fields.items()
        ]

    @classmethod
    def load(cls, environment: Mapping[str, str], **overrides: object) -> "Settings":
        """Reads `TREADLE_…` (an empty value counts as unset). Raises ConfigurationError naming every fault, unknown
        names too."""
        found: dict[str, object] = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and name not in CLIENT_NAMES and value
        }
        found.setdefault("git_environment", {name: environment[name] for name in GIT_NAMES if name in environment})
        found.setdefault(
            "sandbox_environment", {name: environment[name] for name in CONTAINER_NAMES if name in environment}
        )
        if path := environment.get("PATH"):
            found.setdefault("engine_path", path)
        try:
            return cls.model_validate(found | overrides)
        except ValidationError as error:
            said = [_sentence(fault) for fault in error.errors(include_input=False)]
            raise ConfigurationError(
                f"These settings are not valid: {'; '.join(said)}.",
                hint="docs/reference/settings.md lists them all.",
            ) from None


def _sentence(fault: ErrorDetails) -> str:
    field = str(fault["loc"][0])
    name = PREFIX + field.upper()
    if fault["type"] != "extra_forbidden":
        return f"{name}: {fault['msg'].removeprefix('Value error, ').removesuffix('.')}"
    near = difflib.get_close_matches(field, Settings.model_fields, n=1, cutoff=0.8)
    return f"{name} is no setting of this version" + (f" (perhaps {PREFIX}{near[0].upper()} is meant)" if near else "")


def _shown(default: object) -> str:
    """A default as one would write it in the environment."""
    if default is None or default in ({}, ()):
        return ""
    if isinstance(default, bool):
        return str(int(default))
    return ",".join(f"{part:g}" for part in default) if isinstance(default, tuple) else str(default)
