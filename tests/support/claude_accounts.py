"""Plays the place where the Claude CLI refreshes its OAuth tokens.

That address is compiled into the CLI: no variable points it at loopback. So this is a CONNECT proxy that ends the TLS
of the one host it plays and refuses all others, and a wrapper script of the CLI that names the proxy and its
authority. Nothing leaves the machine.

    with ClaudeAccounts() as accounts:
        cli = accounts.wrap(require_claude(), tmp_path / "claude")   # for TREADLE_CLAUDE_CLI
        ...
        assert accounts.refreshes == ["sk-ant-ort01-old"]

What refreshes outside of the CLI is told `accounts.url` instead, and asks in plain HTTP.
"""

import json
import secrets
import shlex
import ssl
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: The host that the CLI's token endpoint is on.
TOKEN_HOST = "platform.claude.com"

_PATIENCE_SECONDS = 60.0


class ClaudeAccounts:
    """Hands out a new pair of tokens for every known refresh token, which is then used up.

    Attributes:
        refreshes: the refresh tokens that were presented, in order.
        issued: (access, refresh) tokens that were handed out, in order.
        asked: the whole requests.
        refused_hosts: other hosts that the CLI tried to reach.
        refusing: whether to answer `invalid_grant`.
        delay_seconds: what an answer takes.
        may_answer: set, unless a test holds the answers back.
    """

    def __init__(self, *, expires_in: timedelta = timedelta(hours=8)) -> None:
        self.refreshes: list[str] = []
        self.issued: list[tuple[str, str]] = []
        self.asked: list[dict[str, object]] = []
        self.delay_seconds = 0.0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.refused_hosts: list[str] = []
        self.refusing = False
        self._expires_in = expires_in
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="treadle-accounts-")
        self._authority = Path(self._folder.name) / "authority.pem"
        self._http: _Proxy | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._http = _Proxy(self, _make_tls(Path(self._folder.name), self._authority))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="claude accounts")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """For `TREADLE_CLAUDE_TOKEN_URL`."""
        assert self._http is not None, "enter the server first"
        return f"http://127.0.0.1:{self._http.server_port}/v1/oauth/token"

    @property
    def tls(self) -> ssl.SSLContext:
        """A server's, with a certificate that only the wrapped CLI trusts."""
        assert self._http is not None, "enter the server first"
        return self._http.tls

    def wrap(self, cli: Path, script: Path) -> Path:
        """Write an executable `script` that runs the CLI so that it refreshes its tokens here."""
        assert self._http is not None, "enter the server first"
        authority = script.with_suffix(".pem")  # beside the script, so that one bind shows a sandbox both
        authority.write_bytes(self._authority.read_bytes())
        script.write_text(
            "#!/bin/sh\n"
            f"export HTTPS_PROXY=http://127.0.0.1:{self._http.server_port} NO_PROXY=127.0.0.1,localhost\n"
            f"export NODE_EXTRA_CA_CERTS={shlex.quote(str(authority))}\n"
            f'exec {shlex.quote(str(cli))} "$@"\n'
        )
        script.chmod(0o755)
        return script

    def _refresh(self, token: str) -> dict[str, object] | None:
        with self._lock:
            self.refreshes.append(token)
            if self.refusing or token in self.refreshes[:-1]:
                return None
            access, refresh = (f"sk-ant-{kind}01-{secrets.token_hex(16)}" for kind in ("oat", "ort"))
            self.issued.append((access, refresh))
        return {
            "token_type": "Bearer",
            "access_token": access,
            "refresh_token": refresh,
            "expires_in": int(self._expires_in.total_seconds()),
            "scope": "user:inference user:profile",
        }


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True  # a CLI keeps its connection; nothing is owed to it when the test is over
    block_on_close = False

    def __init__(self, accounts: ClaudeAccounts, tls: ssl.SSLContext) -> None:
        self.accounts = accounts
        self.tls = tls
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a CLI is killed in the middle of a request."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy
    _plain: ssl.SSLSocket | None = None

    def do_CONNECT(self) -> None:
        host = self.path.partition(":")[0]
        if host != TOKEN_HOST:
            self.server.accounts.refused_hosts.append(host)
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        self._plain = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.connection = self._plain
        self.rfile = self._plain.makefile("rb")
        self.wfile = self._plain.makefile("wb", buffering=0)  # type: ignore[assignment]  # raw, as the base class's
        self.close_connection = False

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.accounts.asked.append(asked)
        time.sleep(self.server.accounts.delay_seconds)
        self.server.accounts.may_answer.wait(_PATIENCE_SECONDS)
        answer = self.server.accounts._refresh(str(asked["refresh_token"]))
        if answer is None:
            self._send(400, {"error": "invalid_grant", "error_description": "Refresh token not found or invalid"})
        else:
            self._send(200, answer)

    def do_GET(self) -> None:
        self._send(404, {"error": "not_found"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it
        """Say nothing: tests read the attributes of `ClaudeAccounts`."""

    def finish(self) -> None:
        super().finish()
        if self._plain is not None:
            self._plain.close()

    def _send(self, status: int, body: dict[str, object]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def _make_tls(folder: Path, authority: Path) -> ssl.SSLContext:
    """An authority of a day, and a context with its certificate for the token host."""
    now = datetime.now(UTC)

    def build(name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )

    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = build("test authority", root_key, is_authority=True).sign(root_key, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName(TOKEN_HOST)])
    leaf = build(TOKEN_HOST, leaf_key, is_authority=False).add_extension(names, critical=False)
    authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    chain = folder / "leaf.pem"
    chain.touch(mode=0o600)
    chain.write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + leaf.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context
