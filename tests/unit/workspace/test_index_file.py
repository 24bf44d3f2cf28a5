"""The index, read and mended, held against Git itself."""

import hashlib
import os
from pathlib import Path

import pytest
from tests.unit.workspace.bench import IDENTITY, git

from treadle.workspace import index_file
from treadle.workspace.refs import packed, read_refs
from treadle.workspace.staging import Change, Staged, read_staged, read_status


@pytest.fixture(params=["sha1", "sha256"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    tree = tmp_path / "tree"
    git("init", "-q", f"--object-format={request.param}", tree)
    for name in ("a", "é", "x" * 200, "new\nline", "deep/" + "y/" * 20 + "z"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "link").symlink_to("a")
    inner = tree / "inner"
    git("init", "-q", f"--object-format={request.param}", inner)
    git(*IDENTITY, "commit", "-q", "--allow-empty", "-m", "x", cwd=inner)
    git("-c", "advice.addEmbeddedRepo=false", "add", "--all", cwd=tree)
    blob = git("hash-object", "a", cwd=tree).strip()
    for length in (4_094, 4_095, 4_096, 5_000):  # around what the length field holds
        git("update-index", "--index-info", cwd=tree, stdin=f"100644 {blob}\t{'l' * length}\n".encode())
    return tree, 20 if request.param == "sha1" else 32


def test_reads_what_git_wrote(repository: tuple[Path, int]) -> None:
    tree, hash_bytes = repository
    found = list(index_file.entries((tree / ".git/index").read_bytes(), hash_bytes))
    listed = git("ls-files", "--stage", "-z", cwd=tree).split("\0")[:-1]
    told = [f"{entry.mode:o} {entry.id.hex()} 0\t{os.fsdecode(entry.path)}" for entry in found]
    assert told == listed
    head = git("rev-parse", "HEAD", cwd=tree / "inner").strip()
    assert index_file.submodules(tree / ".git/index", hash_bytes) == {b"inner": head}


def test_settling_makes_files_unsuspected(repository: tuple[Path, int]) -> None:
    tree, hash_bytes = repository
    index = tree / ".git/index"
    target = tree / "a"
    written = target.stat().st_mtime
    os.utime(index, (written, written))  # within the same second
    index_file.settle(index, tree, hash_bytes)
    data = index.read_bytes()
    digest = hashlib.new("sha1" if hash_bytes == 20 else "sha256", data[:-hash_bytes]).digest()
    assert data[-hash_bytes:] == digest
    assert target.stat().st_mtime < written - 5
    assert _changed(tree) == []  # by the times alone: it compares no content
    target.write_text("b")
    assert _changed(tree) == ["a"]


def _changed(tree: Path) -> list[str]:
    """Without the entries that have no file."""
    return git("diff-files", "--name-only", "--diff-filter=M", cwd=tree).splitlines()


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="not known"):
        list(index_file.entries(b"DIRC" + b"\0\0\0\4" + b"\0\0\0\0"))


def test_references_are_read_wherever_they_are(tmp_path: Path) -> None:
    git("init", "-q", "--bare", tmp_path)
    tree = git("--git-dir", tmp_path, "mktree").strip()
    first, second = (
        git(*IDENTITY, "--git-dir", tmp_path, "commit-tree", "-m", message, tree).strip() for message in ("1", "2")
    )
    for name in ("heads/packed", "heads/both", "heads/a/b", "tags/v1"):
        git("--git-dir", tmp_path, "update-ref", f"refs/{name}", first)
    git(*IDENTITY, "--git-dir", tmp_path, "tag", "-a", "-m", "x", "annotated", first)
    git("--git-dir", tmp_path, "pack-refs", "--all")
    git("--git-dir", tmp_path, "update-ref", "refs/heads/both", second)
    git("--git-dir", tmp_path, "update-ref", "refs/heads/loose", second)
    git("--git-dir", tmp_path, "symbolic-ref", "refs/heads/symbolic", "refs/heads/both")
    found, loose = read_refs(tmp_path)
    assert loose == 2
    told = git("--git-dir", tmp_path, "for-each-ref", "--format=%(refname) %(objectname)").split()
    listed = dict(zip(told[::2], told[1::2], strict=True))
    del listed["refs/heads/symbolic"]
    assert found == listed
    (tmp_path / "packed-refs").write_bytes(packed(found))
    for path in (tmp_path / "refs").rglob("*"):
        if path.is_file():
            path.unlink()
    again = git("--git-dir", tmp_path, "for-each-ref", "--format=%(objectname) %(refname) %(*objectname)")
    assert f"refs/tags/annotated {first}" in again
    assert again.count("\n") == len(found)


def test_reads_what_is_staged() -> None:
    zero, one = "0" * 40, "1" * 40
    output = (
        f":100644 100644 {zero} {one} M\0a b\0:100644 100755 {zero} {one} R090\0old\0new\nname\0"
        f":000000 160000 {zero} {one} A\0inner\0:160000 160000 {zero} {one} M\0lib\0"
        "1\t2\ta b\0003\t4\t\0old\0new\nname\0-\t-\tinner\0"
    )
    staged = read_staged(output.encode())
    assert staged == Staged(
        (
            Change("100644", "100644", zero, b"a b", b"a b", one),
            Change("100644", "100755", zero, b"old", b"new\nname", one),
            Change("000000", "160000", zero, b"inner", b"inner", one),
            Change("160000", "160000", zero, b"lib", b"lib", one),
        ),
        4,
        6,
    )
    assert [change.is_new_repository for change in staged.changes] == [False, False, True, False]
    assert [change.is_moved_submodule for change in staged.changes] == [False, False, False, True]
    assert read_staged(b"") == Staged(())


def test_reads_a_status() -> None:
    assert read_status(b" M a b\0?? new\nname\0A  \xff\0") == ("a b", "new\nname", "�")
