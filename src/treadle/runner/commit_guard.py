"""Looks for keys and tokens in what a step is about to commit."""

from collections.abc import Sequence

from treadle.domain.errors import SecretsFound
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.secret_scan import Finding
from treadle.ports import Workspace
from treadle.redaction import without_known
from treadle.services.progress import Progress
from treadle.services.secrets import RunRedactor

#: How many findings an event names; the sentence names the first.
MAX_FINDINGS = 50


class CommitGuard:
    """For one claimed run. `is_on`: whether a find fails the step, or is only told."""

    def __init__(self, workspace: Workspace, progress: Progress, redactor: RunRedactor, *, is_on: bool) -> None:
        self._workspace = workspace
        self._progress = progress
        self._redactor = redactor
        self._is_on = is_on

    async def check(self, step: int) -> None:
        """Raises SecretsFound."""
        found = await self._workspace.find_secrets(self._is_own)
        if not found:
            return
        await self._progress.record(Draft(EventType.GIT_SECRETS_FOUND, self._told(found), step))
        if self._is_on:
            raise refusal(found)

    def clean(self, text: str) -> str:
        """What a commit or a pull request may say of `text`: never the run's own secrets, and no keys of well-known
        formats, unless finds are only told."""
        clean = self._redactor.text(text)
        return without_known(clean) if self._is_on else clean

    def _is_own(self, text: str) -> bool:
        return self._redactor.text(text) != text

    def _told(self, found: Sequence[Finding]) -> JsonObject:
        named = [{"path": each.path, "line": each.line, "kind": each.kind} for each in found[:MAX_FINDINGS]]
        return {"findings": named, "count": len(found), "isAllowed": not self._is_on}


def refusal(found: Sequence[Finding]) -> SecretsFound:
    """Names the first of them."""
    match len(found) - 1:
        case 0:
            others = ""
        case 1:
            others = ", and there is 1 find more"
        case more:
            others = f", and there are {more:,} finds more"
    return SecretsFound(
        f"Nothing was committed: {_place(found[0])} holds what looks like a secret ({found[0].kind}){others}.",
        hint="Have it taken out; or, if it is none, let the repository commit it: "
        "`treadle admin repo update OWNER/NAME --no-scan-secrets`.",
    )


def _place(finding: Finding) -> str:
    return finding.path if finding.line is None else f"{finding.path}, line {finding.line:,},"
