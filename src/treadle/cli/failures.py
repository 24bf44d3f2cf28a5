"""Every way a command fails, as one sentence, a hint and an exit code."""

import sys
from typing import Final

from treadle.cli.output import FAILED, USAGE, error, note
from treadle.domain.errors import ConfigurationError, InvalidInput, TreadleError

_DEBUG_HINT: Final = "`treadle --debug …` shows where."

#: The options behind the API's fields.
_OPTIONS: Final = {
    "gitUrl": "--repo",
    "branchSource": "--source",
    "branchWork": "--branch",
    "codeGuidelines": "--guidelines",
    "gitSshKeyBase64": "--ssh-key",
    "gitHttpCredentials": "--http-credentials-env",
    "claudeAuthentication.apiKey": "--engine-key-env",
    "repo_id": "--repo",
    "agent_type": "--agent-type",
}


class Stopped(Exception):  # what there was to say is said
    """Ends a command with this exit code, without another word."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def report(failure: BaseException) -> int:
    """Says what went wrong on standard error; the exit code."""
    failure = _innermost(failure)
    code = _report(failure)
    for text in getattr(failure, "__notes__", ()):
        note(text)
    return code


def _report(failure: BaseException) -> int:
    match failure:
        case InvalidInput():
            error(failure.message, failure.hint)
            for path, said in failure.faults.items():
                note(f"  {path}: {'; '.join(said)}")
            return USAGE
        case ConfigurationError():
            error(failure.message, failure.hint)
            return USAGE
        case TreadleError():
            error(failure.message, failure.hint)
            return FAILED
        case OSError() if failure.strerror:
            where = f"{failure.filename}: " if failure.filename else ""
            error(f"{where}{failure.strerror}.", _DEBUG_HINT)
            return FAILED
        case _:
            return _report_of_client(failure) or _report_unknown(failure)


def _report_of_client(failure: BaseException) -> int | None:
    """What the SDK raised, if it was the SDK; it is not imported for this."""
    if "treadle.sdk" not in sys.modules:
        return None
    from treadle import AuthenticationError, BadRequestError, ConnectionFailedError, TreadleApiError

    match failure:
        case AuthenticationError():
            error(failure.message, "Give a key of yours in TREADLE_API_KEY, or with --api-key @FILE.")
            return USAGE
        case BadRequestError():
            error(failure.message, failure.hint)
            for path, said in failure.errors.items():
                note(f"  {_OPTIONS.get(path, path)}: {_with_options(' '.join(said))}")
            return USAGE
        case ConnectionFailedError():
            error(failure.message, "Is `treadle serve` running there? TREADLE_URL or --url names another address.")
            return FAILED
        case TreadleApiError():
            error(failure.message, failure.hint)
            return FAILED
        case _:
            return None


def _with_options(said: str) -> str:
    for field, option in _OPTIONS.items():
        said = said.replace(field, option)
    return said


def _report_unknown(failure: BaseException) -> int:
    said = f": {failure}" if str(failure) else ""
    error(f"Treadle itself failed ({type(failure).__name__}{said}).", _DEBUG_HINT)
    return FAILED


def _innermost(failure: BaseException) -> BaseException:
    """The one error of a group of one."""
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure
