"""A real sshd on a free loopback port, run by the current user, root or not, with keys of its own.

with GitServer() as git, SshServer() as ssh:
    bare = git.create("acme/demo", {"README.md": "# Demo\n"})
    ...  # clone ssh.url(bare) with ssh.private_key
"""

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.support.clis import require_program
from tests.support.ports import ReservedPort

_START_SECONDS = 60.0

_CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
MaxStartups 200
MaxSessions 50
LoginGraceTime 30
AllowTcpForwarding no
X11Forwarding no
"""


class SshServer:
    """Lets one key in, to Git's commands only."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="treadle-sshd-"))
        self._port = ReservedPort()
        self._sshd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = require_program("sshd")  # sshd wants to be called by its full path
        require_program("ssh-keygen")
        for name in ("host_key", "client_key", "wrong_key"):
            _keygen(self._folder / name)
        allowed = (self._folder / "client_key.pub").read_text()
        keys = self._folder / "authorized_keys"
        keys.write_text(f'restrict,command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\"" {allowed}')
        keys.chmod(0o600)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where a root sshd confines itself before login
        try:
            self._start(program)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def url(self, path: Path) -> str:
        """The address of a bare repository on this machine."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def scp_url(self, path: Path) -> str:
        """The same as `user@host:path`, which has no room for a port: for parsers only."""
        return f"{getpass.getuser()}@127.0.0.1:{path}"

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def private_key(self) -> bytes:
        """The key that is let in, in OpenSSH's format."""
        return (self._folder / "client_key").read_bytes()

    @property
    def wrong_key(self) -> bytes:
        """A sound key that is not let in."""
        return (self._folder / "wrong_key").read_bytes()

    @property
    def known_hosts(self) -> str:
        """The line that pins this server."""
        kind, key, *_ = (self._folder / "host_key.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def _start(self, program: Path) -> None:
        configuration = self._folder / "sshd_config"
        configuration.write_text(_CONFIGURATION.format(port=self.port, folder=self._folder))
        command = [str(program), "-D", "-e", "-f", str(configuration)]
        with (self._folder / "log").open("wb") as log:
            self._sshd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not self._wait_until_listening(self._sshd):
            raise RuntimeError(f"sshd does not start: {self.log}")

    def _wait_until_listening(self, sshd: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and sshd.poll() is None:
            if "Server listening on 127.0.0.1" in self.log:
                return True
            time.sleep(0.01)
        return False

    def _stop(self) -> None:
        """End sshd and the sessions it has open, then forget the keys."""
        if self._sshd is not None and self._sshd.poll() is None:
            sessions = psutil.Process(self._sshd.pid).children(recursive=True)
            self._sshd.terminate()
            self._sshd.wait()
            for session in sessions:
                with suppress(psutil.NoSuchProcess):  # compares the start time too: a reused pid is not ours
                    session.kill()
        self._port.close()
        shutil.rmtree(self._folder)


def _keygen(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)],
        check=True,
        capture_output=True,
        timeout=30,
    )
