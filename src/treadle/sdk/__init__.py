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
from treadle.sdk._audit import AuditEntry
from treadle.sdk._batch_models import Batch, BatchCounts, BatchItem, BatchItemStatus, BatchStatus
from treadle.sdk._bill import Budget, UsageReport, UsageRow
from treadle.sdk._calls import Token
from treadle.sdk._client import Client
from treadle.sdk._diff import CodeDiff, DiffChange, DiffFile, DiffLine, LineType
from treadle.sdk._errors import (
    AgentWaitTimeoutError,
    AuthenticationError,
    BadRequestError,
    BatchWaitTimeoutError,
    ConflictError,
    ConnectionFailedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ScriptWaitTimeoutError,
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
from treadle.sdk._plan_models import PlanCheck, PlanFault, RepositoryPlan, RepositoryPlans, StartedRun
from treadle.sdk._policies import RepositoryPolicies
from treadle.sdk._schedule_models import Firing, Schedule
from treadle.sdk._script_models import Script, ScriptLine, ScriptRun, ScriptRunStatus, ScriptVersion
from treadle.sdk._secrets import RepositorySecret
from treadle.sdk._trigger_models import Trigger, TriggerDelivery, TriggerHook
from treadle.sdk._validation import CommandResult, ValidationRules
from treadle.sdk._webhook_models import Webhook, WebhookFilter, WebhookMessage, WebhookReply

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
]
