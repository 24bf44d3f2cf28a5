"""The broker's URL, and what its refusals mean to an operator."""

import ssl
from urllib.parse import SplitResult, urlsplit

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelPreconditionFailed,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
    ProtocolSyntaxError,
)
from yarl import URL

from treadle.domain.errors import ConfigurationError, Unavailable

#: Seconds. Either side takes the other for gone after about three of them in silence: within 20 seconds.
HEARTBEAT_SECONDS = 5

#: What the library raises for trouble with the broker, and not for a mistake of ours.
TROUBLE = (AMQPError, ChannelInvalidStateError, OSError)

_HINT = "Use amqp://user:password@host/vhost, or amqps:// for TLS, in TREADLE_BROKER_URL."
_AGAIN = "It is tried again by itself."
_VHOST_HINT = (
    "`rabbitmqctl add_vhost` makes one, `rabbitmqctl set_permissions` lets a user in; "
    "the URL's path names it, as `/%2F` does the one called /."
)


class Address:
    """`url` is for the library; as text, for logs and errors, it has no password."""

    def __init__(self, url: str, *, name: str) -> None:
        """`name` is what the broker lists the connection as. Raises ConfigurationError, which does not repeat the URL:
        it may hold a password."""
        parts = _split(url)
        self.user = parts.username or "guest"
        self._shown = f"{parts.scheme}://{self.user}@{parts.netloc.rpartition('@')[2]}{parts.path}"
        given = URL(url)
        self.url = given.update_query({"heartbeat": str(HEARTBEAT_SECONDS), "name": name, **given.query})

    def __str__(self) -> str:
        return self._shown

    def unavailable(self, reason: str) -> Unavailable:
        return Unavailable(f"RabbitMQ at {self} is away: {reason.rstrip('.')}.", hint=_AGAIN)

    def explain(self, error: Exception) -> ConfigurationError:
        """What an operator is told of an error while connecting; Unavailable where waiting may help."""
        refusal = self._refusal(error)
        if refusal is None:
            return self.unavailable(describe(error))
        message, hint = refusal
        return ConfigurationError(f"RabbitMQ at {self} {message}", hint=hint)

    def _refusal(self, error: Exception) -> tuple[str, str] | None:
        """What is wrong, and what to do about it; None for what may pass by itself."""
        said = describe(error)
        match error:
            case ProbableAuthenticationError() | AuthenticationError():
                found = f"does not let {self.user} in.", "Look at the user and the password in TREADLE_BROKER_URL."
            case AMQPError(__cause__=ssl.SSLError() as cause):
                found = (
                    f"cannot be reached by TLS: {cause.reason or cause}.",
                    "Look at the port and the certificates; `?cafile=` in the URL names an authority of your own.",
                )
            # The library drops the broker's words when it closes the connection instead of opening the virtual host.
            case InvalidFrameError() if "Connection.OpenOk" in said and "Connection.Close" in said:
                found = "lets its user in, but not to this virtual host.", _VHOST_HINT
            case IncompatibleProtocolError() | ProtocolSyntaxError():
                found = (
                    "does not speak AMQP 0-9-1.",
                    "Look at the port in TREADLE_BROKER_URL: 5672, or 5671 with amqps.",
                )
            case ChannelAccessRefused():
                found = (
                    f"does not let {self.user} make or use what Treadle needs: {said}.",
                    "Give the user configure, write and read permission for treadle.* and amq.gen.*.",
                )
            case ChannelPreconditionFailed():
                found = (
                    f"has a queue or exchange of that name with other properties: {said}.",
                    "Use a virtual host of Treadle's own, or delete that one.",
                )
            case _:
                return None
        return found


def describe(error: BaseException) -> str:
    """In a line, for a log or an operator. The library's errors never hold the URL."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    words = [str(part) for part in error.args if isinstance(part, str) and part]
    return " ".join(" ".join(words).split()).rstrip(".") or type(error).__name__


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError("TREADLE_BROKER_URL cannot be read.", hint=_HINT) from None
    if parts.username is None and "@" in url:
        raise ConfigurationError(
            "TREADLE_BROKER_URL cannot be read.", hint="Characters such as / # ? in a password are written %2F %23 %3F."
        )
    if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
        raise ConfigurationError("TREADLE_BROKER_URL is not the address of a RabbitMQ broker.", hint=_HINT)
    return parts
