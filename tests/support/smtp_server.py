"""A small SMTP server on loopback, without TLS: what it was given, and answers that a test chooses.

with SmtpServer() as server:
    ...  # smtp://127.0.0.1:port?tls=no
    server.mails
"""

import socketserver
import threading
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Mail:
    sender: str
    recipients: tuple[str, ...]
    message: Message


@dataclass
class SmtpServer:
    """`answers`: by the command, in the place of its own."""

    answers: dict[str, str] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    port: int = 0
    _server: socketserver.ThreadingTCPServer | None = None

    def __enter__(self) -> Self:
        here = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                here._talk(self)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def _talk(self, line: socketserver.StreamRequestHandler) -> None:
        sender, recipients = "", list[str]()

        def say(text: str) -> None:
            line.wfile.write(f"{text}\r\n".encode())

        say("220 here")
        while command := line.rfile.readline().decode().strip():
            self.commands.append(command)
            verb, _, rest = command.partition(" ")
            verb = verb.upper()
            if verb in self.answers:
                say(self.answers[verb])
            elif verb == "EHLO":
                say("250-here\r\n250 AUTH PLAIN")
            elif verb == "AUTH":
                say("235 welcome")
            elif verb == "MAIL":
                sender, recipients = rest.partition(":")[2].split()[0].strip("<>"), []
                say("250 go on")
            elif verb == "RCPT":
                recipients.append(rest.partition(":")[2].strip("<>"))
                say("250 go on")
            elif verb == "DATA":
                say("354 go on")
                body = bytearray()
                while (part := line.rfile.readline()) not in {b".\r\n", b""}:
                    body += part
                self.mails.append(
                    Mail(sender, tuple(recipients), message_from_bytes(bytes(body), EmailMessage, policy=default))
                )
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 as you like")
