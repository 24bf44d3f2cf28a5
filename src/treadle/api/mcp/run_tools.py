"""Tools that start runs, look at them and change them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated
from uuid import UUID

from mcp.server.mcpserver import Context
from pydantic import Field

from treadle.api.deps import Services
from treadle.api.mcp.calls import Call, find, repository_named, told
from treadle.api.mcp.inputs import (
    MOST_NUMBER,
    ClaudeGiven,
    NetworkChoice,
    RunId,
    StepGiven,
    key_fault,
    policy_of,
)
from treadle.api.mcp.shapes import RunShape, RunsShape, RunSummaryShape
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import InvalidInput
from treadle.domain.permissions import Permission, may, require
from treadle.domain.run import EngineName, FollowUp, RunPurpose
from treadle.domain.states import RunStatus
from treadle.domain.validation import ValidationRules
from treadle.ports.page import RunSearch
from treadle.services.run_asked import AskedRun, faults_of, git_faults, git_of, request_of
from treadle.services.run_rules import blank_fault, cost_fault, files_fault, text_fault
from treadle.services.runs import Repeatable, unknown_file_faults

#: Runs of one answer, and unless another number is asked for.
MAX_RUNS = 100
DEFAULT_RUNS = 20

#: Characters of what is looked for.
MAX_SEARCH = 500

_NOT_STARTED = "Nothing was started."


class RunTools:
    """The caller sees and does what it could through the API."""

    def __init__(self, services: Services, *, allow_local: bool, public_url: str | None) -> None:
        self._services = services
        self._allow_local = allow_local
        self._public_url = public_url

    @told
    async def start_run(
        self,
        context: Context,
        steps: Annotated[
            list[StepGiven], Field(description="Done in order, on one conversation; each ends in a commit.")
        ],
        repository: Annotated[
            int | str | None, Field(description="A registered repository: its id, or its name OWNER/NAME.")
        ] = None,
        git_url: Annotated[
            str | None, Field(description="Or the address of another: https, http, ssh or user@host:path.")
        ] = None,
        branch_source: Annotated[
            str | None,
            Field(description="Where the work starts; null: a registered repository's default branch."),
        ] = None,
        branch_work: Annotated[
            str | None, Field(description="Where it is committed; made if missing. null: a new one is named.")
        ] = None,
        code_guidelines: Annotated[str | None, Field(description="Put before the first prompt.")] = None,
        file_ids: Annotated[list[UUID] | None, Field(description="Files of upload_file to show the engine.")] = None,
        engine: Annotated[EngineName | None, Field(description="null: as the organization has it.")] = None,
        model: Annotated[str | None, Field(description="The engine's model.")] = None,
        max_cost_usd: Annotated[
            float | None, Field(description="US dollars that the model may cost; past them the run fails.")
        ] = None,
        network: Annotated[
            NetworkChoice | None, Field(description="What its commands may connect to; null: as is usual there.")
        ] = None,
        validation_commands: Annotated[
            list[str] | None,
            Field(description="Must pass before a step is committed, such as `make test`; null: the repository's."),
        ] = None,
        opens_pull_request: Annotated[
            bool, Field(description="At its end, where the organization and the forge allow it.")
        ] = False,
        git_http_credentials: Annotated[
            str | None, Field(description="`user:password`, or a bare token; kept sealed.")
        ] = None,
        git_ssh_key_base64: Annotated[
            str | None, Field(description="Base64 of a private key without a passphrase; kept sealed.")
        ] = None,
        claude_authentication: Annotated[
            ClaudeGiven | None, Field(description="Whose account pays; null: the service's.")
        ] = None,
        generate_diff: Annotated[bool, Field(description="Keep the diff of all the run's commits.")] = True,
        idempotency_key: Annotated[
            str | None, Field(description="Your own id for this call: repeated with it, it starts no second run.")
        ] = None,
    ) -> RunShape:
        """Start a run: an AI coding CLI does the steps on a repository's work branch and pushes a commit for each.
        Answers at once; wait_for_run waits for its end."""
        principal = Call.of(context).principal
        require(principal, Permission.RUN)
        asked = AskedRun(
            steps=[step.draft() for step in steps],
            git_url=git_url,
            git_http_credentials=git_http_credentials,
            git_ssh_key_base64=git_ssh_key_base64,
            branch_source=branch_source,
            branch_work=branch_work,
            code_guidelines=code_guidelines,
            file_ids=tuple(file_ids or ()),
            engine=engine,
            model=model,
            claude=claude_authentication.credential() if claude_authentication is not None else None,
            max_cost_usd=max_cost_usd,
            network=policy_of(network),
            validation=_rules_of(validation_commands),
            generate_diff=generate_diff,
            opens_pull_request=opens_pull_request,
        )
        fault = key_fault(idempotency_key) if idempotency_key is not None else None
        repeatable = None if idempotency_key is None or fault else _repeatable(idempotency_key, repository, asked)
        if (earlier := await self._services.runs.started_with(principal, repeatable)) is not None:
            return RunShape.of(earlier, self._public_url)
        if repository is not None:
            asked = replace(asked, repository=await repository_named(self._services, principal, repository))
        faults = faults_of(asked, allow_local=self._allow_local)
        if fault:
            faults["idempotency_key"] = [fault]
        if faults:
            raise InvalidInput(faults, _NOT_STARTED)
        organization = await self._services.organizations.get(principal.organization_id)
        run = await self._services.runs.create(
            principal, request_of(asked, organization), repeatable, monthly_runs=organization.monthly_runs
        )
        return RunShape.of(run, self._public_url)

    @told
    async def get_run(self, context: Context, run: RunId) -> RunShape:
        """Show a run as it is: its status, its steps with their answers and commits, and what it cost."""
        found = await find(self._services, Call.of(context).principal, run)
        return RunShape.of(found, self._public_url)

    @told
    async def list_runs(
        self,
        context: Context,
        statuses: Annotated[list[RunStatus] | None, Field(description="Only these; null: all.")] = None,
        repository_id: Annotated[
            int | None, Field(ge=0, le=MOST_NUMBER, description="Only on this repository.")
        ] = None,
        text: Annotated[
            str | None, Field(description="Words that are in the address, the work branch or a step.")
        ] = None,
        limit: Annotated[int, Field(ge=1, le=MAX_RUNS, description="At most that many.")] = DEFAULT_RUNS,
        before: Annotated[
            int | None, Field(ge=0, le=MOST_NUMBER, description="The `before` of the page before this one.")
        ] = None,
    ) -> RunsShape:
        """List runs that you may see, newest first."""
        principal = Call.of(context).principal
        require(principal, Permission.RUN)
        which = RunSearch(
            principal.organization_id,
            None if may(principal, Permission.RUNS_OF_OTHERS) else principal.user_id,
            frozenset(statuses) if statuses else None,
            repository_id,
            text=text[:MAX_SEARCH] if text else None,
        )
        page = await self._services.finder.search_runs(which, limit=limit, before=before)
        return RunsShape(runs=[RunSummaryShape.of(each) for each in page.runs], before=page.before)

    @told
    async def resume_run(
        self,
        context: Context,
        run: RunId,
        text: Annotated[str, Field(description="What to do next.")],
        is_commitable: Annotated[
            bool | None, Field(description="Whether it ends in a commit; null: as the run's purpose is.")
        ] = None,
        file_ids: Annotated[list[UUID] | None, Field(description="Files of upload_file for this step.")] = None,
        max_cost_usd: Annotated[
            float | None, Field(description="A budget in the place of the run's, for all that it has cost and will.")
        ] = None,
        git_http_credentials: Annotated[
            str | None,
            Field(description="Of a run that has ended on no registered repository: `user:password`, or a token."),
        ] = None,
        git_ssh_key_base64: Annotated[str | None, Field(description="Or base64 of a private key.")] = None,
        idempotency_key: Annotated[
            str | None, Field(description="Your own id for this call: repeated with it, it adds no second step.")
        ] = None,
    ) -> RunShape:
        """Give a run another step: same branch, same conversation. One that goes on takes it up behind its steps."""
        principal = Call.of(context).principal
        require(principal, Permission.RUN)
        found = await find(self._services, principal, run)
        files = tuple(dict.fromkeys(file_ids or ()))
        faults = git_faults(git_http_credentials, git_ssh_key_base64)
        for name, said in (
            ("text", blank_fault(text) or text_fault(text)),
            ("file_ids", files_fault(len(files))),
            ("max_cost_usd", cost_fault(max_cost_usd) if max_cost_usd is not None else None),
            ("idempotency_key", key_fault(idempotency_key) if idempotency_key is not None else None),
        ):
            if said:
                faults[name] = [said]
        if faults:
            raise InvalidInput(faults)
        commits = found.purpose is RunPurpose.CODE if is_commitable is None else is_commitable
        git = git_of(git_http_credentials, git_ssh_key_base64)
        asked = (found.id, text, commits, files, max_cost_usd, git_http_credentials, git_ssh_key_base64)
        repeatable = _same(idempotency_key, asked) if idempotency_key is not None else None
        if (earlier := await self._services.runs.resumed_with(principal, found, repeatable)) is not None:
            return RunShape.of(earlier, self._public_url)
        if unknown := await self._services.runs.unknown_files(principal, files):
            raise InvalidInput(unknown_file_faults(files, unknown))
        resumed = await self._services.runs.resume(
            found,
            FollowUp(text, is_commitable=commits, file_ids=files),
            git=git if git != GitCredentials() else None,
            max_cost_usd=max_cost_usd,
            principal=principal,
            repeatable=repeatable,
        )
        return RunShape.of(resumed, self._public_url)

    @told
    async def kill_run(self, context: Context, run: RunId) -> RunShape:
        """End a run: a New one at once, a Running one in seconds. What it has pushed stays."""
        principal = Call.of(context).principal
        require(principal, Permission.RUN)
        await self._services.runs.kill_seen(await find(self._services, principal, run))
        return RunShape.of(await find(self._services, principal, run), self._public_url)


def _rules_of(commands: Sequence[str] | None) -> ValidationRules | None:
    """Raises InvalidInput."""
    if commands is None:
        return None
    try:
        return ValidationRules.read(list(commands))
    except ValueError as error:
        raise InvalidInput({"validation_commands": [str(error)]}, _NOT_STARTED) from None


def _repeatable(key: str, repository: int | str | None, asked: AskedRun) -> Repeatable:
    parts: Sequence[object] = (
        *(asked.steps, repository, asked.git_url),
        *(asked.git_http_credentials, asked.git_ssh_key_base64, asked.source, asked.branch_work),
        *(asked.code_guidelines, asked.file_ids, asked.engine, asked.model, asked.max_cost_usd, asked.network),
        *(asked.generate_diff, asked.opens_pull_request, asked.validation),
        *((asked.claude.source, asked.claude.secrets()) if asked.claude is not None else ()),
    )
    return _same(key, parts)


def _same(key: str, asked: Sequence[object]) -> Repeatable:
    """The digest tells the same call from another one with the same key; the key is the salt."""
    digest = hashlib.sha256(repr((key, *asked)).encode(errors="replace")).hexdigest()
    return Repeatable(f"mcp:{key}", digest)
