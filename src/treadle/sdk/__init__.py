"""The Python SDK: a synchronous and an asynchronous client of a Treadle server. `import treadle` offers the same names.

Nothing here imports the server.
"""

from treadle.sdk._agent_models import (
    AgentLog,
    AgentLogType,
    AgentRun,
    AgentRunSource,
    AgentRunStatus,
    PullRequest,
    PullRequestState,
)
from treadle.sdk._async_client import AsyncClient
from treadle.sdk._calls import Token
from treadle.sdk._client import Client
from treadle.sdk._diff import CodeDiff, DiffChange, DiffFile, DiffLine, LineType
from treadle.sdk._errors import (
    AgentWaitTimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectionFailedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TooLargeError,
    TreadleApiError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from treadle.sdk._inputs import ClaudeAuthentication, ClaudeAuthenticationSource, Step
from treadle.sdk._models import (
    Artifact,
    Engine,
    Event,
    Phase,
    Process,
    ProcessStatus,
    ProcessStep,
    StepStatus,
    StoredFile,
    StructuredOutput,
    Usage,
)
from treadle.sdk._organization_models import (
    CheckSuiteSettings,
    Integration,
    Organization,
    Repository,
    Rules,
    User,
)

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
]
