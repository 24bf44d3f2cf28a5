"""What can go wrong with a command, before its own exit code."""

from treadle.domain.errors import TreadleError


class CommandError(TreadleError):
    code = "command"


class CommandNotFound(CommandError):
    """There is no such program or directory, or it may not be used."""

    code = "command_not_found"


class CommandTimedOut(CommandError):
    """`stderr`: what the command had said there."""

    code = "command_timed_out"

    def __init__(self, message: str, *, stderr: str = "") -> None:
        super().__init__(message)
        self.stderr = stderr


class OutputTooLarge(CommandError):
    code = "command_output_too_large"
