"""A wish becomes a process of the API."""

from treadle import AsyncClient, ClaudeAuthentication, Process, Step, ValidationRules
from treadle.cli.options import Wish
from treadle.domain import validation as domain


def rules(found: domain.ValidationRules | None) -> ValidationRules | None:
    """As the SDK has them."""
    return ValidationRules(found.commands, found.tries) if found is not None else None


async def start(client: AsyncClient, wish: Wish, *, source: str, wants_diff: bool) -> Process:
    """Uploads the files and starts the run."""
    file_ids = [(await client.files.upload(path)).id for path in wish.files]
    return await client.processes.start(
        git_url=wish.repo,
        branch_source=source,
        branch_work=wish.branch,
        steps=[Step(step.text, commitable=step.is_commitable, structured=step.is_structured) for step in wish.steps],
        git_ssh_key=wish.ssh_key,
        git_http_credentials=wish.http_credentials,
        code_guidelines=wish.guidelines,
        file_ids=file_ids,
        generate_diff_on_completion=wants_diff,
        engine=str(wish.engine),
        claude_authentication=ClaudeAuthentication.api_key(wish.engine_key) if wish.engine_key is not None else None,
        max_cost_usd=wish.max_cost_usd,
        network=str(wish.network) if wish.network is not None else None,
        validate=rules(wish.validation),
    )
