import os
import subprocess
from pathlib import Path

import pytest
from tests.support.git_server import GitServer
from tests.support.ssh_server import SshServer

pytestmark = pytest.mark.sshd


def ls_remote(url: str, key: bytes, folder: Path, known_hosts: str) -> subprocess.CompletedProcess[str]:
    identity, pinned = folder / "key", folder / "known_hosts"
    identity.write_bytes(key)
    identity.chmod(0o600)
    pinned.write_text(known_hosts)
    ssh = (
        f"ssh -F none -i {identity} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes"
        f" -o UserKnownHostsFile={pinned}"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_SSH_COMMAND": ssh}
    return subprocess.run(["git", "ls-remote", url], capture_output=True, text=True, check=False, env=environment)


def test_the_right_key_only(tmp_path: Path) -> None:
    with GitServer() as git, SshServer() as ssh:
        url = ssh.url(git.create("acme/demo", {"a": "b"}))
        assert "refs/heads/main" in ls_remote(url, ssh.private_key, tmp_path, ssh.known_hosts).stdout
        refused = ls_remote(url, ssh.wrong_key, tmp_path, ssh.known_hosts)
        assert refused.returncode != 0
        assert "Permission denied" in refused.stderr
        unknown = ls_remote(ssh.url(git.path("acme/none")), ssh.private_key, tmp_path, ssh.known_hosts)
        assert "does not appear to be a git repository" in unknown.stderr
