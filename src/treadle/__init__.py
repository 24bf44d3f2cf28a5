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
    "AuthenticationError",
    "BadRequestError",
    "CheckSuiteSettings",
    "ClaudeAuthentication",
    "ClaudeAuthenticationSource",
    "Client",
    "CodeDiff",
    "ConflictError",
    "ConnectionFailedError",
    "DiffChange",
    "DiffFile",
    "DiffLine",
    "Engine",
    "Event",
    "Integration",
    "LineType",
    "NotFoundError",
    "Organization",
    "PermissionDeniedError",
    "Phase",
    "Process",
    "ProcessStatus",
    "ProcessStep",
    "PullRequest",
    "PullRequestState",
    "RateLimitedError",
    "Repository",
    "Rules",
    "ServerError",
    "Step",
    "StepStatus",
    "StoredFile",
    "StructuredOutput",
    "Token",
    "TooLargeError",
    "TreadleApiError",
    "UnexpectedAnswerError",
    "Usage",
    "User",
    "WaitTimeoutError",
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
