"""The Python SDK: a synchronous and an asynchronous client of a Treadle server. `import treadle` offers the same names.

Nothing here imports the server.
"""

from treadle.sdk._async_client import AsyncClient
from treadle.sdk._calls import Token
from treadle.sdk._client import Client
from treadle.sdk._diff import CodeDiff, DiffChange, DiffFile, DiffLine, LineType
from treadle.sdk._errors import (
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

__all__ = [
    "Artifact",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
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
    "LineType",
    "NotFoundError",
    "PermissionDeniedError",
    "Phase",
    "Process",
    "ProcessStatus",
    "ProcessStep",
    "RateLimitedError",
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
    "WaitTimeoutError",
]
