"""Treadle runs AI coding CLIs over Git repositories.

    from treadle import Client, Step

These names are the SDK's. They are imported when one is first used, so that `import treadle` costs nothing; their types
are in `__init__.pyi`.
"""

# ruff: noqa: F822  # __getattr__ defines the names

from importlib import import_module

from treadle.version import __version__

__all__ = [
    "AgentLog",
    "AgentLogType",
    "AgentRun",
    "AgentRunSource",
    "AgentRunStatus",
    "AgentWaitTimeoutError",
    "Artifact",
    "AsyncClient",
    "AuditEntry",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchCounts",
    "BatchItem",
    "BatchItemStatus",
    "BatchStatus",
    "BatchWaitTimeoutError",
    "Budget",
    "CheckSuiteSettings",
    "ClaudeAuthentication",
    "ClaudeAuthenticationSource",
    "Client",
    "CodeDiff",
    "CommandResult",
    "ConflictError",
    "ConnectionFailedError",
    "DiffChange",
    "DiffFile",
    "DiffLine",
    "Engine",
    "Event",
    "Firing",
    "Integration",
    "LineType",
    "NotFoundError",
    "Organization",
    "PermissionDeniedError",
    "Phase",
    "PlanCheck",
    "PlanFault",
    "Process",
    "ProcessStatus",
    "ProcessStep",
    "PullRequest",
    "PullRequestState",
    "RateLimitedError",
    "Repository",
    "RepositoryPlan",
    "RepositoryPlans",
    "RepositoryPolicies",
    "RepositorySecret",
    "Rules",
    "Schedule",
    "Script",
    "ScriptLine",
    "ScriptRun",
    "ScriptRunStatus",
    "ScriptVersion",
    "ScriptWaitTimeoutError",
    "ServerError",
    "StartedRun",
    "Step",
    "StepStatus",
    "StoredFile",
    "StructuredOutput",
    "Token",
    "TooLargeError",
    "TreadleApiError",
    "Trigger",
    "TriggerDelivery",
    "TriggerHook",
    "UnexpectedAnswerError",
    "Usage",
    "UsageReport",
    "UsageRow",
    "User",
    "ValidationRules",
    "WaitTimeoutError",
    "Webhook",
    "WebhookFilter",
    "WebhookMessage",
    "WebhookReply",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module("treadle.sdk"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
