"""The options that commands share, and what becomes of them."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.core import TyperCommand

from treadle.cli.steps import filled_plan, in_order, read_text, text_or_file
from treadle.domain.errors import ConfigurationError, InvalidInput
from treadle.domain.network import NetworkPolicy
from treadle.domain.plan import StepSpec
from treadle.domain.run import EngineName
from treadle.domain.validation import DEFAULT_TRIES, MAX_TRIES, ValidationRules
from treadle.services.run_rules import cost_fault

_ORDER: Final = "treadle.step_order"


class StepCommand(TyperCommand):
    """A command that remembers the order of its `--step` and `--analysis`; the parser only groups them."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # as in main
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Url = Annotated[str, typer.Option("--url", envvar="TREADLE_URL", help="Where the service is.", metavar="URL")]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="TREADLE_API_KEY",
        metavar="KEY|@FILE",
        help="Your key for the service. Others on this machine may see a command line; the variable and the file they "
        "do not.",
    ),
]
DEFAULT_URL: Final = "http://127.0.0.1:8417"

Repo = Annotated[str | None, typer.Option("--repo", metavar="URL|PATH", help="The Git repository.")]
Branch = Annotated[
    str | None, typer.Option("--branch", metavar="NAME", help="The work branch: continued, or made if it is not there.")
]
Source = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="The branch it starts from.", show_default="main")
]
LocalSource = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="NAME",
        help="The branch it starts from.",
        show_default="the remote's HEAD",
    ),
]
Steps = Annotated[
    list[str] | None,
    typer.Option("--step", metavar="TEXT", help="A step that ends in a commit. Repeatable, in order."),
]
Analyses = Annotated[
    list[str] | None,
    typer.Option("--analysis", metavar="TEXT", help="A step that only reads and answers. Repeatable, in order."),
]
Structured = Annotated[bool, typer.Option("--structured", help="Ask every step for a structured answer.")]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan", metavar="FILE", help="YAML with repo, source, branch, engine, guidelines, maxCostUsd, network, steps."
    ),
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE|@FILE", help="The value of a variable of the plan. Repeatable."),
]
RepositoryPlan = Annotated[
    str | None,
    typer.Option(
        "--repository-plan",
        metavar="NAME",
        help="A plan that the registered repository --repo OWNER/NAME holds in .treadle/plans.",
    ),
]
Engine = Annotated[
    EngineName | None,
    typer.Option("--engine", case_sensitive=False, help="The AI coding CLI.", show_default="claude"),
]
Guidelines = Annotated[
    str | None, typer.Option("--guidelines", metavar="TEXT|@FILE", help="Rules for all the code that is written.")
]
Files = Annotated[
    list[Path] | None, typer.Option("--file", metavar="PATH", help="A file for the engine to read. Repeatable.")
]
SshKey = Annotated[Path | None, typer.Option("--ssh-key", metavar="FILE", help="The private key for the repository.")]
HttpEnv = Annotated[
    str | None,
    typer.Option(
        "--http-credentials-env", metavar="NAME", help="The variable that holds user:password or a token for it."
    ),
]
HttpFile = Annotated[
    Path | None, typer.Option("--http-credentials-file", metavar="FILE", help="The file that holds them.")
]
EngineKeyEnv = Annotated[
    str | None,
    typer.Option("--engine-key-env", metavar="NAME", help="The variable that holds your API key for the engine."),
]
LocalEngineKeyEnv = Annotated[
    str | None,
    typer.Option(
        "--engine-key-env",
        "--api-key-env",
        metavar="NAME",
        help="The variable that holds your API key for the engine.",
    ),
]
EngineKeyFile = Annotated[
    Path | None, typer.Option("--engine-key-file", metavar="FILE", help="The file that holds it.")
]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="The engine's model.")]
MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        metavar="USD",
        help="What the model may cost; past that the run fails, its work kept.",
        show_default="the organization's",
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="POLICY",
        help="What its commands may connect to: none, model, allow:HOST,… or full.",
        show_default="the repository's, else the service's",
    ),
]
Validate = Annotated[
    list[str] | None,
    typer.Option(
        "--validate",
        metavar="COMMAND",
        help="A command that must pass before a step is committed. Repeatable, in order; '' for none.",
        show_default="the repository's",
    ),
]
ValidateTries = Annotated[
    int | None,
    typer.Option(
        "--validate-tries",
        metavar="N",
        min=0,
        max=MAX_TRIES,
        help="How often the engine may mend what fails.",
        show_default=str(DEFAULT_TRIES),
    ),
]
Diff = Annotated[
    bool | None,
    typer.Option(
        "--diff/--no-diff", help="At the end show the whole patch, or nothing of it.", show_default="the changed files"
    ),
]


@dataclass(frozen=True, slots=True)
class Wish:
    """A run as asked for, complete, whichever way."""

    repo: str
    source: str | None  # None: the caller finds out
    branch: str
    engine: EngineName
    guidelines: str | None
    steps: tuple[StepSpec, ...]
    files: tuple[Path, ...] = ()
    ssh_key: Path | None = None
    http_credentials: str | None = field(default=None, repr=False)
    engine_key: str | None = field(default=None, repr=False)
    max_cost_usd: float | None = None
    network: NetworkPolicy | None = None
    validation: ValidationRules | None = None
    model: str | None = None  # the plan's


def wish(
    ctx: typer.Context,
    *,
    repo: str | None,
    branch: str | None,
    source: str | None,
    steps: Sequence[str] | None,
    analyses: Sequence[str] | None,
    structured: bool,
    plan: Path | None,
    engine: EngineName | None,
    guidelines: str | None,
    files: Sequence[Path] | None,
    ssh_key: Path | None,
    http_env: str | None,
    http_file: Path | None,
    key_env: str | None,
    key_file: Path | None,
    max_cost: float | None,
    network: str | None,
    validate: Sequence[str] | None = None,
    validate_tries: int | None = None,
    variables: Sequence[str] | None = None,
) -> Wish:
    """The command line over the plan. Raises InvalidInput naming all that is missing, and ConfigurationError."""
    planned = filled_plan(plan, variables or (), repo)
    given = in_order(ctx.meta[_ORDER], steps or (), analyses or (), structured)
    if not given:
        given = [replace(step, is_structured=step.is_structured or structured) for step in planned.steps]
    missing: dict[str, list[str]] = {}
    if not (where := repo or planned.repo):
        missing["--repo"] = ["is missing"]
    if not (work := branch or planned.branch):
        missing["--branch"] = ["is missing"]
    if not given:
        missing["--step"] = ["is missing: give at least one --step or --analysis, or a --plan with steps"]
    for path in files or ():
        if not path.is_file():
            missing[f"--file {path}"] = ["is not a file"]
    if missing or not where or not work:
        raise InvalidInput(missing, "The run is not complete.")
    return Wish(
        repo=local_path(where),
        source=source or planned.source,
        branch=work,
        engine=engine or _engine_named(planned.engine),
        guidelines=text_or_file(guidelines) if guidelines is not None else planned.guidelines,
        steps=tuple(given),
        files=tuple(files or ()),
        ssh_key=_readable(ssh_key),
        http_credentials=secret(http_env, http_file, "--http-credentials"),
        engine_key=secret(key_env, key_file, "--engine-key"),
        max_cost_usd=budget(max_cost) if max_cost is not None else planned.max_cost_usd,
        network=policy(network) if network is not None else planned.network,
        validation=validation(validate, validate_tries, planned.validation),
        model=planned.model,
    )


def budget(dollars: float) -> float:
    """Raises InvalidInput."""
    if fault := cost_fault(dollars):
        raise InvalidInput({"--max-cost": [fault]}, "The budget cannot be.")
    return dollars


def dollars_of(option: str, given: str) -> float | None:
    """None for an empty text. Raises InvalidInput."""
    try:
        amount = float(given) if given else None
    except ValueError:
        amount = math.nan
    if amount is not None and not math.isfinite(amount):
        raise InvalidInput({option: ["must be a number"]}, "The amount cannot be read.")
    return amount


def policy(text: str) -> NetworkPolicy:
    """Raises InvalidInput."""
    try:
        return NetworkPolicy.parse(text)
    except ValueError as error:
        raise InvalidInput({"--network": [str(error)]}, "The network policy cannot be read.") from None


def validation(
    commands: Sequence[str] | None, tries: int | None, planned: ValidationRules | None = None
) -> ValidationRules | None:
    """The options over what is planned; None: nothing is said. Raises InvalidInput."""
    if commands is None and planned is None:
        if tries is None:
            return None
        raise InvalidInput({"--validate-tries": ["needs --validate"]}, "The options do not say what to validate.")
    known = planned or ValidationRules()
    asked = list(known.commands) if commands is None else [command for command in commands if command.strip()]
    try:
        return ValidationRules.read({"commands": asked, "tries": known.tries if tries is None else tries})
    except ValueError as error:
        raise InvalidInput({"--validate": [str(error)]}, "The validation commands cannot be read.") from None


def is_debug(ctx: typer.Context) -> bool:
    """Whether `treadle --debug` was asked for."""
    return bool(ctx.find_root().params.get("debug"))


def secret(variable: str | None, file: Path | None, option: str) -> str | None:
    """A secret from the environment or a file, never from the command line. Raises ConfigurationError, InvalidInput."""
    if variable is not None and file is not None:
        raise InvalidInput({option: [f"give {option}-env or {option}-file, not both"]}, "The options contradict.")
    if variable is not None:
        found = os.environ.get(variable, "").strip()
        if not found:
            raise ConfigurationError(f"The environment variable {variable} is not set.", hint=f"{option}-env names it.")
        return found
    if file is None:
        return None
    found = read_text(file.expanduser()).strip()
    if not found:
        raise ConfigurationError(f"The file {file} is empty.", hint=f"{option}-file names it.")
    return found


def service_key(given: str | None) -> str | None:
    """The key for the service, from its file if it names one."""
    return text_or_file(given).strip() if given is not None else None


def local_path(repo: str) -> str:
    """An absolute path for one that exists here; anything else as it is, for the service to judge."""
    if "://" in repo or not Path(repo).expanduser().is_dir():
        return repo
    return str(Path(repo).expanduser().resolve())


def _readable(path: Path | None) -> Path | None:
    if path is None:
        return None
    path = path.expanduser()
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}.", hint="--ssh-key names a private key.")
    return path


def _engine_named(name: str | None) -> EngineName:
    if name is None:
        return EngineName.CLAUDE
    for engine in EngineName:
        if engine.lower() == name.lower():
            return engine
    raise InvalidInput({"engine": [f"must be one of {', '.join(EngineName)}"]}, "The plan is not valid.")
