"""Treadle's own endpoints, put together."""

from collections.abc import Sequence

from pydantic import BaseModel

from treadle.api.deps import Services
from treadle.api.native import (
    audit,
    batches,
    budgets,
    plans,
    policies,
    schedules,
    scripts,
    secrets,
    trigger_shapes,
    usage,
    webhook_shapes,
)
from treadle.api.native.audit import AuditHandlers, audit_routes
from treadle.api.native.batches import BatchHandlers, batch_routes
from treadle.api.native.budgets import BudgetHandlers, budget_routes
from treadle.api.native.hooks import HookHandlers, hook_routes
from treadle.api.native.plans import PlanHandlers, plan_routes
from treadle.api.native.policies import PolicyHandlers, policy_routes
from treadle.api.native.schedule_targets import targets_of
from treadle.api.native.schedules import ScheduleHandlers, schedule_routes
from treadle.api.native.scripts import ScriptHandlers, script_routes
from treadle.api.native.secrets import SecretHandlers, secret_routes
from treadle.api.native.triggers import TriggerHandlers, trigger_routes
from treadle.api.native.usage import UsageHandlers, usage_routes
from treadle.api.native.webhooks import WebhookHandlers, webhook_routes
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.settings import Settings

#: Everything that the documentation refers to.
SHAPES: Sequence[type[BaseModel]] = (
    *secrets.SHAPES,
    *usage.SHAPES,
    *budgets.SHAPES,
    *policies.SHAPES,
    *audit.SHAPES,
    *plans.SHAPES,
    *batches.SHAPES,
    *schedules.SHAPES,
    *scripts.SHAPES,
    *trigger_shapes.SHAPES,
    *webhook_shapes.SHAPES,
)


def native_routes(guard: Guard, services: Services, settings: Settings) -> Sequence[PlainRoute]:
    """In the order in which they are matched."""
    most = settings.max_request_bytes
    return (
        *secret_routes(guard, SecretHandlers(services.environment, max_request_bytes=most)),
        *usage_routes(guard, UsageHandlers(services.usage)),
        *budget_routes(guard, BudgetHandlers(services.budgets, max_request_bytes=most)),
        *policy_routes(guard, PolicyHandlers(services.policies, max_request_bytes=most)),
        *audit_routes(guard, AuditHandlers(services.audit)),
        *hook_routes(HookHandlers(services.intake)),
        *trigger_routes(
            guard,
            TriggerHandlers(services.triggers, max_request_bytes=most, allow_local=settings.allow_local_repositories),
        ),
        *webhook_routes(guard, WebhookHandlers(services.webhooks, max_request_bytes=most)),
        *script_routes(guard, ScriptHandlers(services.scripts, max_request_bytes=most)),
        *schedule_routes(
            guard,
            ScheduleHandlers(
                services.schedules,
                targets_of(allow_local=settings.allow_local_repositories),
                max_request_bytes=most,
            ),
        ),
        *batch_routes(
            guard,
            BatchHandlers(services.batches, max_request_bytes=most, allow_local=settings.allow_local_repositories),
        ),
        *plan_routes(
            guard,
            PlanHandlers(
                services.plan_runs,
                services.repository_plans,
                max_request_bytes=most,
                allow_local=settings.allow_local_repositories,
            ),
        ),
    )
