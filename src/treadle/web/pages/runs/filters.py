"""What a list of runs is asked for, as its URL says it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from treadle.api.bodies import whole_number
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, may
from treadle.domain.run import Run, RunSource
from treadle.domain.states import RunStatus
from treadle.ports.page import RunSearch

#: Longest search, in characters.
MAX_SEARCH = 200


@dataclass(frozen=True, slots=True)
class Filters:
    """`user` None: everybody's that one may see. What a URL says that means nothing is left out."""

    statuses: frozenset[RunStatus] = frozenset()
    repository: int | None = None
    user: int | None = None
    source: RunSource | None = None
    text: str = ""

    @classmethod
    def of(cls, query: QueryParams) -> "Filters":
        return cls(
            statuses=frozenset(status for status in RunStatus if status in query.getlist("status")),
            repository=whole_number(query.get("repository", "")),
            user=whole_number(query.get("user", "")),
            source=next((source for source in RunSource if source == query.get("source")), None),
            text=query.get("q", "").strip()[:MAX_SEARCH],
        )

    def search(self, principal: Principal) -> RunSearch:
        """For the store. Who sees only its own asks for no others'."""
        sees_all = may(principal, Permission.RUNS_OF_OTHERS)
        return RunSearch(
            organization_id=principal.organization_id,
            user_id=self.user if sees_all else principal.user_id,
            statuses=self.statuses or None,
            repository_id=self.repository,
            source=self.source,
            text=self.text or None,
        )

    def fits(self, run: Run) -> bool:
        """Whether a run that changed belongs in the list; the text is judged as the store's search does."""
        return (
            (not self.statuses or run.status in self.statuses)
            and self.repository in {None, run.repository_id}
            and self.user in {None, run.user_id}
            and self.source in {None, run.source}
            and self._has_text(run)
        )

    def _has_text(self, run: Run) -> bool:
        texts = [text.lower() for text in (run.git_url, run.branch_work, *(step.text for step in run.steps))]
        return all(any(part in text for text in texts) for part in self.text.lower().split())

    @property
    def is_any(self) -> bool:
        return self != Filters()

    def query(self, **more: str | int) -> str:
        """As a URL says it, `more` besides."""
        pairs: list[tuple[str, str]] = [("status", status.value) for status in RunStatus if status in self.statuses]
        given: Mapping[str, str | int | None] = {
            "repository": self.repository,
            "user": self.user,
            "source": self.source.value if self.source else None,
            "q": self.text or None,
            **more,
        }
        return urlencode(pairs + [(name, str(value)) for name, value in given.items() if value is not None])

    def toggled(self, status: RunStatus) -> "Filters":
        """With that status, or without it if it was there."""
        return replace(self, statuses=self.statuses ^ {status})
