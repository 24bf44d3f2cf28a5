"""What is said where bubblewrap does not work."""

from pathlib import Path

import pytest

from treadle.sandbox.advice import advice


@pytest.mark.parametrize(
    ("switch", "value", "said"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces"),
    ],
)
def test_a_switch_that_is_in_the_way_is_named(tmp_path: Path, switch: str, value: str, said: str) -> None:
    file = tmp_path / switch
    file.parent.mkdir()
    file.write_text(f"{value}\n")
    assert said in advice(is_installed=True, sysctl=tmp_path, root=tmp_path)
    file.write_text("7\n")
    assert said not in advice(is_installed=True, sysctl=tmp_path, root=tmp_path)


def test_in_a_container_its_rules_are_named(tmp_path: Path) -> None:
    assert "deploy/seccomp.json" not in advice(is_installed=True, sysctl=tmp_path, root=tmp_path)
    (tmp_path / ".dockerenv").touch()
    assert "deploy/seccomp.json" in advice(is_installed=True, sysctl=tmp_path, root=tmp_path)


def test_what_is_missing_is_to_be_installed() -> None:
    assert "apt install bubblewrap" in advice(is_installed=False)
