"""What an S3-compatible service, or the way to it, says when it does not work; in our words, and never with a secret.

obstore has few kinds of errors: the rest is in their text, which holds the status, the service's own code, and at the
end a debug print of the cause.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from obstore.exceptions import BaseError

from treadle.domain.errors import ConfigurationError, NotFound, TreadleError, Unavailable

_CODE: Final = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CLIENT_ERROR: Final = re.compile(r"4\d\d")
#: What may pass by itself, and was tried again already.
_PASSING: Final = frozenset({"408", "409", "429"})

_BUCKET: Final = ("has no bucket {bucket}", "Make it, or mend TREADLE_BLOB_URL.")
_REGION: Final = ("has the bucket {bucket} in another region", "Mend TREADLE_S3_REGION.")
_TOKEN: Final = ("does not accept the session token", "Renew AWS_SESSION_TOKEN, or give keys that do not expire.")
_DENIED: Final = (
    "does not let this key read, write, list and delete in the bucket {bucket}",
    "docs/how-to/s3.md lists the permissions; perhaps TREADLE_S3_ACCESS_KEY_ID belongs to somebody else.",
)

#: (what the service does, what to mend) by its code.
_TO_MEND: Final[Mapping[str, tuple[str, str]]] = {
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "InvalidAccessKeyId": ("does not know the access key", "Mend TREADLE_S3_ACCESS_KEY_ID."),
    "SignatureDoesNotMatch": ("does not accept the secret to the access key", "Mend TREADLE_S3_SECRET_ACCESS_KEY."),
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "RequestTimeTooSkewed": ("has another time than this machine", "Set this machine's clock."),
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "ExpiredToken": _TOKEN,
    "InvalidToken": _TOKEN,
    "KeyTooLongError": ("takes no key that long", "Shorten the prefix in TREADLE_BLOB_URL."),
    "EntityTooLarge": ("takes no file that large", "Give it a higher limit, or use another service."),
}

#: What the text of a failed connection holds, and what that means; the first that is there counts.
_REASONS: Final = (
    ("ConnectionRefused", "the connection is refused"),
    ("dns error", "its host's name is not known"),
    ("TimedOut", "it is silent"),
    ("timed out", "it is silent"),
    ("ConnectionReset", "the connection broke"),
    ("IncompleteMessage", "the connection broke"),
    ("body error", "the connection broke"),
    ("NetworkUnreachable", "there is no way to it"),
    ("HostUnreachable", "there is no way to it"),
)

#: Where obstore looks for a role's credentials when it is given no key.
_ROLES: Final = ("169.254.", "fd00:ec2::254", "security-credentials", "api/token", "sts.")


@dataclass(frozen=True, slots=True)
class Where:
    """Of whom an error speaks: the bucket, and the service's address as a user knows it."""

    bucket: str
    service: str

    @contextmanager
    def speaking(self, key: str = "") -> Iterator[None]:
        """Around calls of obstore: raises what they raise as NotFound, ConfigurationError or Unavailable."""
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise self.meaning(error, key) from None  # its text is long, and repeats what the service sent
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            # A panic of Rust's is no Exception: left alone it would end the process.
            raise ConfigurationError(
                f"{self.service} cannot be asked: the S3 client failed.", hint="Mend TREADLE_S3_ENDPOINT."
            ) from None

    def meaning(self, error: Exception, key: str) -> TreadleError:
        """The error in our tree."""
        text = str(error)
        code = found[1] if (found := _CODE.search(text)) else ""
        status = found[1] if (found := _STATUS.search(text)) else ""
        if any(mark in text.partition("\n\nDebug")[0] for mark in _ROLES):
            return Unavailable(
                f"There is no key for {self.service}, and this machine's role gives none.",
                hint="Set TREADLE_S3_ACCESS_KEY_ID and TREADLE_S3_SECRET_ACCESS_KEY.",
            )
        if "InvalidCertificate" in text:
            return ConfigurationError(
                f"The certificate of {self.service} is not trusted.",
                hint="Install its authority's certificate, or name that in the variable SSL_CERT_FILE.",
            )
        if "configured region" in text:
            code = "PermanentRedirect"
        if code in _TO_MEND or status in {"401", "403"}:
            said, hint = _TO_MEND.get(code, _DENIED)
            return ConfigurationError(f"{self.service} {said.format(bucket=self.bucket)}.", hint=hint)
        if isinstance(error, FileNotFoundError) and key:
            return missing(key)
        if _CLIENT_ERROR.fullmatch(status) and status not in _PASSING:
            return ConfigurationError(
                f"{self.service} refuses ({status}{f', {code}' if code else ''}).",
                hint="Is TREADLE_S3_ENDPOINT the address of an S3-compatible service?",
            )
        reason = f"it answers {status}{f', {code}' if code else ''}" if status else _reason(text)
        return Unavailable(
            f"{self.service} does not work now: {reason}.", hint="TREADLE_S3_ENDPOINT and TREADLE_BLOB_URL name it."
        )


def missing(key: str) -> NotFound:
    """The error for bytes that are not there."""
    return NotFound(f"There are no bytes under {key}.", hint="They were deleted, or this is another place.")


def _reason(text: str) -> str:
    return next((reason for mark, reason in _REASONS if mark in text), "its answer is not the one of an S3 service")
