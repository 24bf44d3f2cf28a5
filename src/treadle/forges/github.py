"""GitHub, and GitHub Enterprise Server: the REST API of 2022-11-28, and GraphQL where REST cannot do it.

Sources: docs.github.com, "REST API endpoints for pull requests" (create: 201, 422 "Validation failed" with `A pull
request already exists for OWNER:BRANCH.` or `head` `invalid`; update: PATCH with `state`), "… for repositories", "…
for check runs", "… for commit statuses", "API versions"; GraphQL "Mutations" (`convertPullRequestToDraft`,
`markPullRequestReadyForReview`: REST passes a change of `draft` over).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from pydantic import Field

from treadle.domain.errors import ForgeError
from treadle.domain.repository import ForgeKind
from treadle.forges.addresses import owner_and_name
from treadle.forges.answers import MAX_REASON, Dated, Link, Number, Shape, Title, state_of
from treadle.forges.line import Line
from treadle.forges.transport import Transport
from treadle.ports.forges import (
    ForgePullRequest,
    ForgeRepository,
    PullRequestChange,
    PullRequestDraft,
    RepositoryFacts,
)

API_VERSION = "2022-11-28"

#: Checks in a page, and pages that are read.
CHECKS_PAGE = 50
CHECKS_PAGES = 4

_STATES = {PullRequestChange.OPEN: "open", PullRequestChange.CLOSED: "closed"}

#: The mutation, and whether the pull request is a draft after it.
_MUTATIONS = {
    PullRequestChange.DRAFT: ("convertPullRequestToDraft", True),
    PullRequestChange.READY_FOR_REVIEW: ("markPullRequestReadyForReview", False),
}


class _Permissions(Shape):
    push: bool = False


class _Named(Shape):
    full_name: str


class _Head(Shape):
    ref: str
    repo: _Named | None = None


class _Repository(Shape):
    id: int
    description: str | None = None
    visibility: str | None = None
    private: bool = False
    archived: bool = False
    language: str | None = None
    default_branch: str | None = None
    permissions: _Permissions | None = None


class _Pull(Dated):
    number: Number
    node_id: str
    title: Title
    html_url: Link
    state: str
    draft: bool = False
    merged_at: datetime | None = None
    head: _Head

    def told(self) -> ForgePullRequest:
        state = state_of(is_open=self.state == "open", is_merged=self.merged_at is not None, is_draft=self.draft)
        return ForgePullRequest(self.number, self.title, self.html_url, state, self.head.ref, self.date_created)


class _CheckRun(Shape):
    name: str


class _CheckRuns(Shape):
    check_runs: list[_CheckRun]


class _Status(Shape):
    context: str


class _Statuses(Shape):
    statuses: list[_Status]


class _GraphError(Shape):
    message: str


class _GraphAnswer(Shape):
    errors: list[_GraphError] = Field(default_factory=list)


class GitHubForge:
    """ports.forges.Forge."""

    kind = ForgeKind.GITHUB

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def facts(self, repository: ForgeRepository) -> RepositoryFacts:
        path = f"repos/{owner_and_name(repository)}"
        async with self._transport.open(repository, headers_of(repository)) as line:
            found = await line.get(_Repository, path)
        return RepositoryFacts(
            forge_id=str(found.id),
            description=found.description,
            visibility=found.visibility or ("private" if found.private else "public"),
            is_archived=found.archived,
            language=found.language,
            default_branch=found.default_branch,
            may_push=found.permissions.push if found.permissions is not None else None,
        )

    async def open_pull_request(self, repository: ForgeRepository, draft: PullRequestDraft) -> ForgePullRequest:
        path = f"repos/{owner_and_name(repository)}/pulls"
        owner = repository.name.partition("/")[0]
        async with self._transport.open(repository, headers_of(repository)) as line:

            async def find() -> _Pull | None:
                pulls = await line.get(list[_Pull], path, state="open", head=f"{owner}:{draft.head}", per_page=30)
                for pull in pulls:
                    # A filter that GitHub does not understand is passed over, and a fork's branch may be called so too.
                    if pull.head.ref == draft.head and _is_at(pull.head.repo, repository.name):
                        return pull
                return None

            async def create() -> _Pull:
                body = {"title": draft.title, "body": draft.body, "head": draft.head, "base": draft.base}
                return await line.send("POST", _Pull, path, body, is_repeatable=False)

            return (await line.once(find, create)).told()

    async def pull_request(self, repository: ForgeRepository, number: int) -> ForgePullRequest:
        async with self._transport.open(repository, headers_of(repository)) as line:
            return (await line.get(_Pull, f"repos/{owner_and_name(repository)}/pulls/{number}")).told()

    async def change_pull_request(
        self, repository: ForgeRepository, number: int, change: PullRequestChange
    ) -> ForgePullRequest:
        path = f"repos/{owner_and_name(repository)}/pulls/{number}"
        async with self._transport.open(repository, headers_of(repository)) as line:
            if change in _STATES:
                return (await line.send("PATCH", _Pull, path, {"state": _STATES[change]})).told()
            found = await line.get(_Pull, path)
            mutation, is_draft = _MUTATIONS[change]
            if found.draft is not is_draft:
                await _mutate(line, mutation, found.node_id)
                found = found.model_copy(update={"draft": is_draft})
            return found.told()

    async def check_names(self, repository: ForgeRepository, ref: str) -> Sequence[str]:
        path = f"repos/{owner_and_name(repository)}/commits/{quote(ref, safe='/')}"
        names = set[str]()
        async with self._transport.open(repository, headers_of(repository)) as line:
            for page in range(1, CHECKS_PAGES + 1):
                runs = (await line.get(_CheckRuns, f"{path}/check-runs", per_page=CHECKS_PAGE, page=page)).check_runs
                names.update(run.name for run in runs)
                if len(runs) < CHECKS_PAGE:
                    break
            statuses = await line.get(_Statuses, f"{path}/status", per_page=100)
            names.update(status.context for status in statuses.statuses)
        return sorted(names)


async def _mutate(line: Line, mutation: str, node_id: str) -> None:
    """GraphQL is at /graphql of api.github.com, and at /api/graphql of a server whose REST API is at /api/v3. What it
    refuses, it answers with 200 and `errors`."""
    query = f"mutation($id: ID!) {{ {mutation}(input: {{pullRequestId: $id}}) {{ pullRequest {{ isDraft }} }} }}"
    answer = await line.send(
        "POST",
        _GraphAnswer,
        "graphql",
        {"query": query, "variables": {"id": node_id}},
        below=line.place.path.removesuffix("/v3"),
    )
    if answer.errors:
        said = line.clean("; ".join(error.message for error in answer.errors))[:MAX_REASON].rstrip(".")
        raise ForgeError(f"{line.place.host} refuses it: {said}.")


def headers_of(repository: ForgeRepository) -> Mapping[str, str]:
    return {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {repository.token}",
        "X-GitHub-Api-Version": API_VERSION,
    }


def _is_at(named: _Named | None, name: str) -> bool:
    return named is not None and named.full_name.lower() == name.lower()
