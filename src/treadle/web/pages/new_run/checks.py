"""What is wrong with a wish, beside its fields; the rules are those of the API."""

from collections.abc import Callable, Mapping, Sequence

from treadle.domain.credentials import ClaudeSource, EngineCredential, GitCredentials
from treadle.domain.errors import InvalidInput
from treadle.domain.git_url import check_branch, check_url, split_credentials
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, RunDraft, RunSource, StepDraft
from treadle.domain.validation import ValidationRules
from treadle.services.agents import branch_words, model_faults
from treadle.services.credentials import check_ssh_key, read_ssh_key
from treadle.services.run_rules import (
    MAX_BRANCH,
    MAX_GUIDELINES,
    MAX_HTTP_CREDENTIALS,
    MAX_SSH_KEY,
    MAX_TOKEN,
    MAX_URL,
    REQUIRED,
    files_fault,
    length_fault,
    one_line_fault,
    steps_fault,
    text_fault,
    token_fault,
)
from treadle.services.runs import RunRequest
from treadle.web.forms import amount_of
from treadle.web.network import policy_of
from treadle.web.pages.new_run.wish import Wish
from treadle.web.validation import rules_of

_Rule = Callable[[str], str | None]


def faults_of(wish: Wish, repository: Repository | None, *, allow_local: bool) -> dict[str, list[str]]:
    """By field, in the form's order. `repository`: the chosen one; None: an address is given, or nothing is chosen."""
    found: dict[str, list[str]] = {}

    def check(name: str, *said: str | None) -> None:
        if faults := list(dict.fromkeys(each for each in said if each)):
            found.setdefault(name, []).extend(faults)

    if repository is None and not wish.is_elsewhere:
        check("repository", REQUIRED if not wish.repository else "Is not registered any more. Choose another.")
    _check_address(wish, check, allow_local=allow_local)
    source, work = wish.source or (repository.default_branch if repository is not None else ""), wish.work
    check("source", REQUIRED if not source else _said(source, MAX_BRANCH, text_fault, check_branch))
    if work:
        check("work", _said(work, MAX_BRANCH, text_fault, check_branch))
        check("work", "Must differ from the source branch." if work == source else None)
    steps = wish.given_steps
    if not steps:
        check("step-0", REQUIRED)
    for at, step in steps:
        check(f"step-{at}", text_fault(step.text))
    if steps and (fault := steps_fault(len(steps))):
        check(f"step-{steps[-1][0]}", f"A run {fault[0].lower()}{fault[1:].replace('entries', 'steps')}")
    fault = files_fault(len(wish.files))
    check("files", fault and fault.replace("entries", "files"))
    if wish.guidelines:
        check("guidelines", _said(wish.guidelines, MAX_GUIDELINES, text_fault))
    check("engine", None if wish.engine in set(EngineName) else f"Must be one of {', '.join(EngineName)}.")
    check("model", *model_faults(wish.model).get("model", ()))
    if wish.api_key:
        check("api_key", _said(wish.api_key, MAX_TOKEN, token_fault))
    _check_bounds(wish, check)
    return found


def _check_bounds(wish: Wish, check: Callable[..., None]) -> None:
    """What it may cost and connect to, and what must pass, as far as it can be read."""
    try:
        amount_of(wish.max_cost)
    except ValueError as error:
        check("max_cost", str(error))
    try:
        policy_of(wish.network, wish.hosts)
    except InvalidInput as error:
        for name, said in error.faults.items():
            check(name, *said)
    try:
        validation_of(wish)
    except InvalidInput as error:
        for name, said in error.faults.items():
            check(name, *said)


def validation_of(wish: Wish) -> ValidationRules | None:
    """Raises InvalidInput."""
    return rules_of(wish.validate, wish.tries, is_none=wish.is_unvalidated)


def _check_address(wish: Wish, check: Callable[..., None], *, allow_local: bool) -> None:
    if not wish.is_elsewhere:
        if wish.url and wish.repository:
            check("url", "Choose a repository, or “Another address” to give one: not both.")
        return
    if not wish.url:
        check("url", REQUIRED)
    else:
        check("url", _said(wish.url, MAX_URL, text_fault) or check_url(wish.url, allow_local))
        if (wish.http or wish.ssh_key) and split_credentials(wish.url)[1] is not None:
            check("url", "Holds credentials, and the form gives others: give them once.")
    has_both = bool(wish.http and wish.ssh_key.strip())
    if wish.http:
        check("http", _said(wish.http, MAX_HTTP_CREDENTIALS, text_fault, one_line_fault))
        check("http", "Give this or an SSH key, not both." if has_both else None)
    if wish.ssh_key.strip():
        check("ssh_key", _key_fault(wish.ssh_key))
        check("ssh_key", "Give this or HTTP credentials, not both." if has_both else None)


def request_of(wish: Wish, repository: Repository | None) -> RunRequest:
    """What a wish without faults asks for."""
    url, in_url = (repository.url, None) if repository is not None else _address(wish.url)
    steps = [step for _, step in wish.given_steps]
    engine = EngineName(wish.engine)
    return RunRequest(
        draft=RunDraft(
            git_url=url,
            branch_source=wish.source or (repository.default_branch if repository is not None else ""),
            branch_work=wish.work,
            branch_words=None if wish.work else branch_words(steps[0].text),
            steps=tuple(StepDraft(step.text, step.is_commitable, step.is_structured) for step in steps),
            code_guidelines=wish.guidelines if wish.guidelines.strip() else None,
            file_ids=tuple(file.id for file in wish.files),
            generate_diff=wish.generate_diff,
            engine=engine,
            model=wish.model if wish.model and engine is not EngineName.DUMMY else None,
            repository_id=repository.id if repository is not None else None,
            source=RunSource.CHAT,
            opens_pull_request=wish.opens_pull_request,
            max_cost_usd=amount_of(wish.max_cost),
            network=policy_of(wish.network, wish.hosts),
            validation=validation_of(wish),
        ),
        git=GitCredentials() if repository is not None else _credentials(wish, in_url),
        claude=EngineCredential(ClaudeSource.CLIENT_API_KEY, api_key=wish.api_key) if wish.api_key else None,
    )


def described(wish: Wish) -> Mapping[str, object]:
    """All that the wish asks for: two that are equal ask for the same run. A file counts by what it holds."""
    parts: dict[str, object] = {name: getattr(wish, name) for name in _COUNTING}
    parts["steps"] = [(step.text, step.is_commitable, step.is_structured) for _, step in wish.given_steps]
    parts["files"] = [(file.name, file.sha256) for file in wish.files]
    return parts


_COUNTING: Sequence[str] = (
    *("repository", "url", "http", "ssh_key", "source", "work", "guidelines", "engine", "model", "api_key"),
    *("max_cost", "network", "hosts", "opens_pull_request", "generate_diff"),
    *("validate", "tries", "is_unvalidated"),
)


def _said(value: str, most: int, *rules: _Rule) -> str | None:
    return length_fault(value, most) or next((fault for rule in rules if (fault := rule(value))), None)


def _key(text: str) -> str:
    """A key as text, or in base64 as the API takes it. Raises ValueError."""
    return check_ssh_key(text) if text.lstrip().startswith(("-", "ssh-", "ecdsa-", "PuTTY")) else read_ssh_key(text)


def _key_fault(text: str) -> str | None:
    if fault := length_fault(text, MAX_SSH_KEY):
        return fault
    try:
        _key(text)
    except ValueError as error:
        return str(error)
    return None


def _address(url: str) -> tuple[str, str | None]:
    return split_credentials(url) if "@" in url else (url, None)


def _credentials(wish: Wish, in_url: str | None) -> GitCredentials:
    key = _key(wish.ssh_key) if wish.ssh_key.strip() else None
    return GitCredentials(http=wish.http or in_url, ssh_key=key)
