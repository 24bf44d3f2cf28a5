"""E-mail, by the operator's own server."""

import asyncio
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cached_property, partial
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from treadle import outward
from treadle.domain.errors import ConfigurationError
from treadle.messengers.words import words_of
from treadle.ports.webhooks import Letter, Reply

#: Longest silence of the server, in seconds, and longest time for one e-mail.
SMTP_SILENCE_SECONDS = 10.0
MAIL_SECONDS = 45.0

#: E-mails on their way at once.
MAIL_THREADS = 4

_PORTS = {"smtp": 587, "smtps": 465}
_HINT = "It is smtp://user:password@host:587, which turns to TLS, or smtps://user:password@host:465."


@dataclass(frozen=True, slots=True)
class Post:
    """The server. `is_plain`: without TLS, for one on the same machine."""

    host: str
    port: int
    is_tls: bool
    is_plain: bool
    user: str | None
    password: str | None = field(repr=False)

    @classmethod
    def read(cls, url: str) -> Self:
        """Raises ConfigurationError, which repeats nothing of it."""
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            asked = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        except (ValueError, KeyError):
            raise ConfigurationError("TREADLE_SMTP_URL is no address of an SMTP server.", hint=_HINT) from None
        if not parts.hostname or parts.path not in {"", "/"} or asked not in ({}, {"tls": "no"}):
            raise ConfigurationError("TREADLE_SMTP_URL is no address of an SMTP server.", hint=_HINT)
        is_tls = parts.scheme == "smtps"
        return cls(
            parts.hostname,
            port,
            is_tls=is_tls,
            is_plain=bool(asked) and not is_tls,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or ""),
        )


class MailMessenger:
    """`sender`: the address that it comes from. `environment`: for certificates."""

    def __init__(self, post: Post, sender: str | None, environment: Mapping[str, str]) -> None:
        self._post = post
        self._sender = sender or f"treadle@{post.host}"
        self._environment = environment
        self._threads = ThreadPoolExecutor(MAIL_THREADS, "mail")

    async def send(self, letter: Letter) -> Reply:
        recipients = addresses_of(letter.target)
        loop = asyncio.get_running_loop()
        try:
            made = mail(letter, self._sender, recipients)
            async with asyncio.timeout(MAIL_SECONDS):
                await loop.run_in_executor(self._threads, partial(self._hand_over, made, recipients))
        except TimeoutError:
            return Reply(f"{self._post.host} took more than {MAIL_SECONDS:g} s.")
        except smtplib.SMTPRecipientsRefused as error:
            status = min((code for code, _ in error.recipients.values()), default=None)
            return Reply(f"{self._post.host} takes no e-mail for these addresses ({status}).", status=status)
        except smtplib.SMTPResponseException as error:
            return Reply(f"{self._post.host} refuses the e-mail ({error.smtp_code}).", status=error.smtp_code)
        except ssl.SSLCertVerificationError as error:
            return Reply(f"The certificate of {self._post.host} is not trusted: {error.verify_message}.")
        except (OSError, ValueError, smtplib.SMTPException) as error:  # not its words: they may hold what was sent
            return Reply(f"{self._post.host} cannot be reached, or breaks off ({type(error).__name__}).")
        return Reply(status=250)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _hand_over(self, made: EmailMessage, recipients: Sequence[str]) -> None:
        post = self._post
        with self._connected() as server:
            if not post.is_tls and not post.is_plain:
                server.starttls(context=self._certificates)
            if post.user is not None:
                server.login(post.user, post.password or "")
            server.send_message(made, self._sender, list(recipients))

    def _connected(self) -> smtplib.SMTP:
        post = self._post
        if post.is_tls:
            return smtplib.SMTP_SSL(post.host, post.port, timeout=SMTP_SILENCE_SECONDS, context=self._certificates)
        return smtplib.SMTP(post.host, post.port, timeout=SMTP_SILENCE_SECONDS)

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return outward.certificates(self._environment)


def addresses_of(target: str) -> Sequence[str]:
    """Of addresses with commas between."""
    return [each for part in target.split(",") if (each := part.strip())]


def mail(letter: Letter, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Raises ValueError for an address that is none: no header can be smuggled in."""
    words = words_of(letter)
    made = EmailMessage()
    made["From"] = _address(sender)
    made["To"] = [_address(each) for each in recipients]
    made["Subject"] = f"[Treadle] {words.title}"
    made["Date"] = format_datetime(letter.date)
    made["Message-ID"] = f"<{letter.id}@{sender.rpartition('@')[2].rstrip('>')}>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content("\n\n".join(part for part in (words.title, words.text, words.url) if part) + "\n")
    return made


def _address(text: str) -> Address:
    return Address(addr_spec=text)
