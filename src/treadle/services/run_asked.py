"""A run as somebody asks for it in plain values: what is wrong with them, all at once, and what they ask for. The rules
are `run_rules`; the wire is the dialects' business."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from treadle.domain.credentials import ClaudeSource, EngineCredential, GitCredentials
from treadle.domain.git_url import check_branch, check_url, split_credentials
from treadle.domain.identity import Organization
from treadle.domain.network import NetworkPolicy
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, RunDraft, StepDraft
from treadle.domain.validation import ValidationRules
from treadle.services.agents import branch_words, chosen_engine, model_faults
from treadle.services.credentials import read_ssh_key
from treadle.services.run_rules import (
    MAX_BRANCH,
    MAX_GUIDELINES,
    MAX_HTTP_CREDENTIALS,
    MAX_SSH_KEY,
    MAX_TOKEN,
    MAX_URL,
    REQUIRED,
    blank_fault,
    cost_fault,
    files_fault,
    length_fault,
    one_line_fault,
    steps_fault,
    text_fault,
    token_fault,
)
from treadle.services.runs import RunRequest, engine_fault

_Rule = Callable[[str], str | None]
_Check = Callable[..., None]


@dataclass(frozen=True, slots=True)
class AskedRun:
    """On `repository`, else on `git_url`. None: where it is left open: the repository's default branch, a work branch
    that the store names, the organization's engine."""

    steps: Sequence[StepDraft]
    repository: Repository | None = None
    git_url: str | None = field(default=None, repr=False)  # may hold credentials
    git_http_credentials: str | None = field(default=None, repr=False)
    git_ssh_key_base64: str | None = field(default=None, repr=False)
    branch_source: str | None = None
    branch_work: str | None = None
    code_guidelines: str | None = None
    file_ids: tuple[UUID, ...] = ()
    engine: EngineName | None = None
    model: str | None = None
    claude: EngineCredential | None = None
    max_cost_usd: float | None = None
    network: NetworkPolicy | None = None
    validation: ValidationRules | None = None  # None: the repository's
    generate_diff: bool = True
    opens_pull_request: bool = False

    @property
    def source(self) -> str | None:
        """The branch that it starts from."""
        return self.branch_source or (self.repository.default_branch if self.repository is not None else None)


def faults_of(asked: AskedRun, *, allow_local: bool) -> dict[str, list[str]]:
    """By the field's name; empty when nothing is wrong."""
    found: dict[str, list[str]] = {}

    def check(name: str, *said: str | None) -> None:
        if faults := list(dict.fromkeys(each for each in said if each)):
            found.setdefault(name, []).extend(faults)

    _check_address(asked, check, allow_local=allow_local)
    source, work = asked.source, asked.branch_work
    check("branch_source", _said(source, MAX_BRANCH, text_fault, check_branch) if source else REQUIRED)
    if work is not None:
        check("branch_work", _said(work, MAX_BRANCH, text_fault, check_branch))
        check("branch_work", "Must differ from branch_source." if work == source else None)
    check("steps", steps_fault(len(asked.steps)))
    for at, step in enumerate(asked.steps):
        check(f"steps[{at}].text", blank_fault(step.text), text_fault(step.text))
    check("file_ids", files_fault(len(asked.file_ids)))
    check("file_ids", "Names a file twice." if len(set(asked.file_ids)) < len(asked.file_ids) else None)
    if asked.code_guidelines is not None:
        check("code_guidelines", _said(asked.code_guidelines, MAX_GUIDELINES, text_fault))
    check("model", *model_faults(asked.model).get("model", ()))
    check("max_cost_usd", cost_fault(asked.max_cost_usd) if asked.max_cost_usd is not None else None)
    _check_claude(asked, check)
    return found


def git_faults(http: str | None, ssh_key_base64: str | None) -> dict[str, list[str]]:
    """Of credentials for a repository, by the field's name."""
    found: dict[str, list[str]] = {}
    if http is not None and (fault := _said(http, MAX_HTTP_CREDENTIALS, text_fault, one_line_fault)):
        found["git_http_credentials"] = [fault]
    if ssh_key_base64 is not None and http is not None:
        found["git_ssh_key_base64"] = ["Give this or git_http_credentials, not both."]
    elif ssh_key_base64 is not None and (fault := _said(ssh_key_base64, MAX_SSH_KEY, _ssh_key_fault)):
        found["git_ssh_key_base64"] = [fault]
    return found


def git_of(http: str | None, ssh_key_base64: str | None) -> GitCredentials:
    """Of credentials without faults."""
    return GitCredentials(http=http, ssh_key=read_ssh_key(ssh_key_base64) if ssh_key_base64 is not None else None)


def request_of(asked: AskedRun, organization: Organization) -> RunRequest:
    """What a wish without faults asks for, in that organization."""
    repository = asked.repository
    url, in_url = (repository.url, None) if repository is not None else _address(asked.git_url or "")
    if asked.engine is None:
        engine, model = chosen_engine(organization, asked.model, None)
    else:
        engine, model = asked.engine, (asked.model or "").strip() or None
    return RunRequest(
        draft=RunDraft(
            git_url=url,
            branch_source=asked.source or "",
            branch_work=asked.branch_work or "",
            branch_words=None if asked.branch_work else branch_words(asked.steps[0].text),
            steps=tuple(asked.steps),
            code_guidelines=asked.code_guidelines,
            file_ids=asked.file_ids,
            generate_diff=asked.generate_diff,
            engine=engine,
            model=model if engine is not EngineName.DUMMY else None,
            repository_id=repository.id if repository is not None else None,
            opens_pull_request=asked.opens_pull_request,
            max_cost_usd=asked.max_cost_usd,
            network=asked.network,
            validation=asked.validation,
        ),
        git=git_of(asked.git_http_credentials or in_url, asked.git_ssh_key_base64),
        claude=asked.claude if asked.claude is None or asked.claude.source is not ClaudeSource.DEFAULT else None,
    )


def _check_address(asked: AskedRun, check: _Check, *, allow_local: bool) -> None:
    http, ssh_key, url = asked.git_http_credentials, asked.git_ssh_key_base64, asked.git_url
    if asked.repository is not None:
        check("git_url", "Give this or repository, not both." if url is not None else None)
    elif url is None:
        check("git_url", "Give this, or a repository that is registered.")
    else:
        check("git_url", _said(url, MAX_URL, text_fault) or check_url(url, allow_local))
        if (http is not None or ssh_key is not None) and split_credentials(url)[1] is not None:
            check("git_url", "Holds credentials, and the request gives others: give them once.")
    for name, said in git_faults(http, ssh_key).items():
        check(name, *said)


def _check_claude(asked: AskedRun, check: _Check) -> None:
    claude = asked.claude
    if claude is None:
        return
    path, license_ = "claude_authentication", claude.license
    if claude.source is ClaudeSource.CLIENT_API_KEY:
        key = claude.api_key
        check(f"{path}.api_key", REQUIRED if key is None else _said(key, MAX_TOKEN, token_fault))
    if claude.source is ClaudeSource.CLIENT_LICENSE:
        access, refresh = (license_.access_token, license_.refresh_token) if license_ is not None else ("", None)
        check(f"{path}.oauth_access_token", _said(access, MAX_TOKEN, token_fault) if access else REQUIRED)
        check(f"{path}.oauth_refresh_token", _said(refresh, MAX_TOKEN, token_fault) if refresh is not None else None)
        scopes = license_.scopes if license_ is not None else ()
        check(f"{path}.oauth_scopes", *(_said(scope, MAX_TOKEN, token_fault) for scope in scopes))
    if asked.engine is not None:
        check(f"{path}.source", engine_fault(asked.engine, claude.source))


def _said(value: str, most: int, *rules: _Rule) -> str | None:
    return length_fault(value, most) or next((fault for rule in rules if (fault := rule(value))), None)


def _ssh_key_fault(value: str) -> str | None:
    try:
        read_ssh_key(value)
    except ValueError as error:
        return str(error)
    return None


def _address(url: str) -> tuple[str, str | None]:
    return split_credentials(url) if "@" in url else (url, None)
