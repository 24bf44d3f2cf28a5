"""Why a request is not sent on, or its answer not passed back."""

from collections.abc import Mapping


class Refusal(Exception):
    """Answered in the API's own form of an error. `message`: for the CLI and its log; no secret, no address."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


class Malformed(Refusal):
    """No HTTP that can only be understood one way: nothing more is read from this connection."""
