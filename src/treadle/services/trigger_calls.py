"""A call of a trigger URL starts a run: what its JSON says are the plan's `trigger.…` variables."""

import json
import re
from collections.abc import Mapping
from typing import Final

from anyio import to_thread

from treadle.domain.git_url import split_credentials
from treadle.services.plan_runs import PlanTarget
from treadle.services.trigger_branches import branches_of
from treadle.services.trigger_texts import line_of
from treadle.services.trigger_wake import MAX_CALLS_PER_HOUR, Outcome, Wake, Waking, done, ignored, source_of

#: Fields of a call's body that are variables, how deep they lie, and characters of each.
MAX_CALL_FIELDS = 200
MAX_CALL_DEPTH = 5
MAX_CALL_VALUE = 20_000

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class CallTriggers:
    def __init__(self, waking: Waking) -> None:
        self._waking = waking

    async def called(self, wake: Wake) -> Outcome:
        plan, place = wake.trigger.plan, wake.place
        if plan is None:
            return ignored("The trigger has no plan.")
        fields = fields_of(wake.stored.body)
        address = place.repository.url if place is not None else split_credentials(plan.repo or "")[0]
        branches = await to_thread.run_sync(branches_of, wake.stored.body)  # megabytes keep nobody waiting
        made = await self._waking.store.run_on_any(wake.trigger.organization_id, address, branches)
        if made is not None:
            run_id, branch = made
            said = f"Run {run_id} made the branch {line_of(branch)}: its own pushes start nothing."
            return ignored(said, run_id)
        await self._waking.admit(f"hook {wake.hook.id}", most=MAX_CALLS_PER_HOUR)
        run = await self._waking.start(
            wake,
            plan,
            f"call {wake.stored.delivery}",
            {f"trigger.{name}": value for name, value in fields.items()},
            target=PlanTarget(repository_id=place.repository.id if place is not None else None),
            source=source_of(wake.hook.kind),
            opens_pull_request=False,
        )
        return done(f"The call started run {run.id}.", run.id)


def fields_of(body: bytes) -> Mapping[str, str]:
    """By their names, those within others with dots between. `body`: all of it, as text."""
    text = body.decode(errors="replace").replace("\0", "")
    found = {"body": text[:MAX_CALL_VALUE], "kind": "url"}
    try:
        sent = json.loads(text)
    except (ValueError, RecursionError):
        return found
    if isinstance(sent, dict):
        _collect(sent, "", found, MAX_CALL_DEPTH)
    return found


def _collect(value: Mapping[str, object], before: str, found: dict[str, str], depth: int) -> None:
    for name, each in value.items():
        path = f"{before}{name}"
        if len(found) >= MAX_CALL_FIELDS or not _NAME.fullmatch(path):
            continue
        if isinstance(each, dict) and depth > 1:
            _collect(each, f"{path}.", found, depth - 1)
        elif isinstance(each, str):
            found[path] = each[:MAX_CALL_VALUE]
        elif each is not None:
            found[path] = json.dumps(each)[:MAX_CALL_VALUE]
