"""Everything that Treadle raises on purpose, in one tree.

    TreadleError
    ├── InvalidInput              what the caller sent is wrong; names every fault at once
    ├── Unauthenticated           no credentials, or none that hold
    ├── Forbidden                 known, but not allowed
    ├── NotFound                  unknown, or not the caller's to know
    ├── Conflict                  the state does not allow it
    │   ├── AlreadyFinished       the run has ended
    │   └── IdempotencyMismatch   the same Idempotency-Key with another body
    ├── TooLarge                  past a documented limit
    ├── TooManyRequests           rate limited
    ├── AllowanceUsedUp           the organization has made its runs of the month
    │   └── MonthUsedUp           its runs have cost what they may in the month
    ├── ForgeError                GitHub, GitLab or Gitea refused, or could not be reached
    │   └── ForgeAuthenticationFailed
    ├── ConfigurationError        a setting, a file or a program that the operator must mend
    │   └── Unavailable           a database, broker or file store that does not answer now: trying again may help
    ├── SealBroken                a sealed secret does not open with this key and row
    │   └── SealKeyMissing        the key that it was sealed with is not loaded in this process
    ├── LeaseLost                 another worker owns the run now: write nothing, push nothing
    ├── KillRequested             somebody asked for the run to be killed
    └── RunError                  ends a run as Failed; the message is its `failureDetails`
        ├── GitError
        │   ├── GitAuthenticationFailed, RepositoryNotFound, BranchNotFound
        │   ├── PushRejected, RebaseConflict, HostRefused, GitTimedOut
        │   ├── GitUnreachable                tried again
        │   └── MalformedDiffError            in `domain/raw_diff.py`
        ├── EngineError
        │   ├── EngineAuthenticationFailed    refreshes credentials, then tries again
        │   ├── UsageLimitReached             fails at once, with the reset time
        │   ├── EngineTimedOut, EngineFailed  tried again
        │   ├── EngineRefused                 fails at once: trying again cannot help
        │   ├── EngineNotInstalled            fails at once
        │   ├── StructuredOutputInvalid       tried again
        │   ├── StepUnsuccessful              the engine itself says that it did not succeed
        │   ├── BudgetExceeded                the run, or its organization's month, has cost what it may
        │   └── LimitExceeded                 the agent used more of the machine than its box allows
        ├── ValidationFailed              a command that must pass before the commit does not
        ├── SecretsFound                      what was to be committed holds a key or a token
        └── WorkspaceError                    the disk, the attached files, a lost machine

HTTP statuses are each dialect's business; `code` is stable and may be matched on.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime


class TreadleError(Exception):
    """What was wrong and, in `hint`, what to do about it."""

    code = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def sentence(self) -> str:
        """Message and hint as text for a person."""
        return f"{self.message} {self.hint}" if self.hint else self.message


class InvalidInput(TreadleError):
    """`faults` maps a field's path, such as `steps[0].step`, to what is wrong with it."""

    code = "invalid_input"

    def __init__(self, faults: Mapping[str, Sequence[str]], message: str = "The request is not valid.") -> None:
        super().__init__(message)
        self.faults = {path: tuple(said) for path, said in faults.items()}

    def sentence(self) -> str:
        """Every fault, after the message."""
        return " ".join([self.message, *(f"{path}: {' '.join(said)}" for path, said in self.faults.items())])


class Unauthenticated(TreadleError):
    code = "unauthenticated"


class Forbidden(TreadleError):
    code = "forbidden"


class NotFound(TreadleError):
    code = "not_found"


class Conflict(TreadleError):
    code = "conflict"


class AlreadyFinished(Conflict):
    code = "already_finished"


class IdempotencyMismatch(Conflict):
    code = "idempotency_mismatch"


class TooLarge(TreadleError):
    code = "too_large"


class TooManyRequests(TreadleError):
    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class AllowanceUsedUp(TreadleError):
    code = "allowance_used_up"


class MonthUsedUp(AllowanceUsedUp):
    code = "month_used_up"


class ForgeError(TreadleError):
    code = "forge"


class ForgeAuthenticationFailed(ForgeError):
    code = "forge_authentication_failed"


class ConfigurationError(TreadleError):
    code = "configuration"


class Unavailable(ConfigurationError):
    code = "unavailable"


class SealBroken(TreadleError):
    code = "seal_broken"


class SealKeyMissing(SealBroken):
    code = "seal_key_missing"


class LeaseLost(TreadleError):
    code = "lease_lost"


class KillRequested(TreadleError):
    code = "kill_requested"


class RunError(TreadleError):
    code = "run_failed"


class GitError(RunError):
    code = "git"


class GitAuthenticationFailed(GitError):
    code = "git_authentication_failed"


class RepositoryNotFound(GitError):
    code = "repository_not_found"


class BranchNotFound(GitError):
    code = "branch_not_found"


class PushRejected(GitError):
    code = "push_rejected"


class RebaseConflict(GitError):
    code = "rebase_conflict"


class HostRefused(GitError):
    code = "host_refused"


class GitTimedOut(GitError):
    code = "git_timed_out"


class GitUnreachable(GitError):
    """No connection, one that broke off, or a server that cannot answer at the moment."""

    code = "git_unreachable"


class EngineError(RunError):
    """`is_retryable`: whether the same call may succeed later."""

    code = "engine"
    is_retryable = False


class EngineAuthenticationFailed(EngineError):
    code = "engine_authentication_failed"
    is_retryable = True


class UsageLimitReached(EngineError):
    code = "usage_limit_reached"

    def __init__(self, message: str, *, resets_at: datetime | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.resets_at = resets_at


class EngineTimedOut(EngineError):
    code = "engine_timed_out"
    is_retryable = True


class EngineFailed(EngineError):
    code = "engine_failed"
    is_retryable = True


class EngineRefused(EngineError):
    code = "engine_refused"


class EngineNotInstalled(EngineError):
    code = "engine_not_installed"


class StructuredOutputInvalid(EngineError):
    code = "structured_output_invalid"
    is_retryable = True


class StepUnsuccessful(EngineError):
    code = "step_unsuccessful"


class BudgetExceeded(EngineError):
    code = "budget_exceeded"


class LimitExceeded(EngineError):
    code = "limit_exceeded"


class ValidationFailed(RunError):
    code = "validation_failed"


class SecretsFound(RunError):
    code = "secrets_found"


class WorkspaceError(RunError):
    code = "workspace"
