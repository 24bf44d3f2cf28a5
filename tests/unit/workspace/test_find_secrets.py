"""What a step is about to commit is looked through; keys are made here, at run time."""

import gzip
import io
import os
import random
import string
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import Bench, git, permitted

from treadle.domain.patch_mask import masked
from treadle.domain.secret_archives import MAX_ARCHIVE_BYTES
from treadle.domain.secret_scan import OWN_KIND, Finding
from treadle.redaction import MASK, Redactor
from treadle.workspace import examination
from treadle.workspace.workspace import GitWorkspace

pytestmark = pytest.mark.anyio

OWN = "the-runs/own secret-1"
REDACTOR = Redactor([OWN])


def own(text: str) -> bool:
    return REDACTOR.text(text) != text


def token(seed: int = 1) -> str:
    return "gh" + "p_" + "".join(random.Random(seed).choices(string.ascii_letters + string.digits, k=36))


TOKEN = "GitHub token"


@pytest.fixture
async def workspace(bench: Bench, origin: BareRepositories) -> GitWorkspace:
    origin.commit("demo", {"old.txt": f"one\n{token(7)}\nand {OWN}\n", "moved.txt": f"{token(8)}\n" * 20})
    return await bench.prepare(origin.path("demo"))


async def test_finds_what_the_work_adds_and_nothing_else(workspace: GitWorkspace) -> None:
    tree = workspace.box.work_tree
    assert await workspace.find_secrets(own) == ()
    (tree / "new.txt").write_text(f"one\ntwo = '{token()}'\n")
    (tree / "README.md").write_text(f"# Demo\n\n{OWN}\n")
    (tree / "old.txt").write_text(f"a new line\none\n{token(7)}\nand {OWN}\n")
    (tree / "moved.txt").rename(tree / "src/elsewhere.txt")
    (tree / "build").mkdir()
    (tree / "build/ignored").write_text(token())
    found = await workspace.find_secrets(own)
    assert sorted(found, key=str) == sorted([Finding("new.txt", 2, TOKEN), Finding("README.md", 3, OWN_KIND)], key=str)
    (tree / "old.txt").write_text(f"{token(7)}\n{token(9)}\n")
    assert Finding("old.txt", 2, TOKEN) in await workspace.find_secrets(own)
    await workspace.undo()
    assert await workspace.find_secrets(own) == ()


async def test_names_and_links_are_looked_at_and_never_spelled(workspace: GitWorkspace) -> None:
    tree = workspace.box.work_tree
    (tree / f"a-{token()}").mkdir()
    (tree / f"a-{token()}/b").touch()
    (tree / "the-runs").mkdir()
    (tree / "the-runs" / OWN.partition("/")[2]).touch()
    (tree / "link").symlink_to(f"/tmp/{token()}")
    (tree / "plain\n'\"\t\udcff").touch()
    found = await workspace.find_secrets(own)
    assert set(found) == {
        Finding("a-***/b", None, TOKEN),
        Finding("***", None, OWN_KIND),
        Finding("link", 1, TOKEN),
    }
    assert token() not in repr(found)
    assert OWN not in repr(found)


async def test_looks_into_archives(workspace: GitWorkspace) -> None:
    tree = workspace.box.work_tree
    text = f"one\n{token()}\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/file", text)
        archive.writestr("deeper.gz", gzip.compress(text))
    (tree / "a.zip").write_bytes(buffer.getvalue())
    (tree / "a.gz").write_bytes(gzip.compress(text))
    (tree / "large.gz").write_bytes(gzip.compress(text) + os.urandom(MAX_ARCHIVE_BYTES))
    found = {(each.path, each.line, each.kind) for each in await workspace.find_secrets(own)}
    assert found == {("a.zip!inner/file", 2, TOKEN), ("a.zip!deeper.gz", 2, TOKEN), ("a.gz", 2, TOKEN)}


async def test_the_middle_of_a_large_file_is_not_looked_at(
    workspace: GitWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "MAX_SCANNED_BYTES", 4 << 20)
    tree, filler = workspace.box.work_tree, b"." * 999 + b"\n"
    parts = [filler * 1000, filler * 3000, filler * 3000, filler * 10]
    keys = [f"{token(seed)}\n".encode() for seed in range(1, 4)]
    (tree / "large").write_bytes(parts[0] + keys[0] + parts[1] + keys[1] + parts[2] + keys[2] + parts[3])
    (tree / "small").write_bytes(keys[1])
    found = await workspace.find_secrets(own)
    assert {(each.path, each.line) for each in found} == {("large", 1001), ("large", None), ("small", 1)}
    assert len(found) == 3


@pytest.mark.parametrize("sizes", [[0, 1, 5], [1 << 20, 0, (1 << 20) + 1], [10] * 3000])
async def test_reads_blobs_of_any_size(workspace: GitWorkspace, sizes: list[int]) -> None:
    tree = workspace.box.work_tree
    for number, size in enumerate(sizes):
        (tree / f"{number}.bin").write_bytes(os.urandom(size))
    (tree / "last").write_text(token())
    assert list(await workspace.find_secrets(own)) == [Finding("last", 1, TOKEN)]


async def test_a_commit_holds_what_was_looked_through(workspace: GitWorkspace, origin: BareRepositories) -> None:
    """Whatever still runs, and writes, between the look and the commit."""
    tree = workspace.box.work_tree
    (tree / "file").write_text("good\n")
    assert await workspace.find_secrets(own) == ()
    (tree / "file").write_text(token())
    commit = await workspace.commit("Add", uuid4())
    assert commit is not None
    await workspace.push(permitted)
    assert origin.show("demo", "work", "file") == b"good\n"
    assert await workspace.changed_paths() == ("file",)
    (tree / "file").write_text("better\n")
    await workspace.find_secrets(own)
    (tree / "other").write_text("seen again\n")
    await workspace.changed_paths()
    commit = await workspace.commit("All of it", uuid4())
    assert commit is not None
    assert commit.files == 2


async def test_a_kept_patch_applies_without_the_secrets(bench: Bench, workspace: GitWorkspace, tmp_path: Path) -> None:
    tree = workspace.box.work_tree
    (tree / "old.txt").write_text(f"one\n{token(7)}\nand {OWN}\nmore {OWN}\n")
    (tree / "new.txt").write_text(f"+++ {OWN}\n--- x\n@@ -1 +1 @@\ndiff --git a/x b/x\n{OWN}")
    (tree / "the-runs").mkdir()
    (tree / "the-runs" / OWN.partition("/")[2]).write_text("x\n")
    (tree / "wide.txt").write_bytes(f"wide {OWN}\n".encode("utf-16"))
    (tree / "picture.bin").write_bytes(bytes(range(256)) * 10)
    patch = masked(await workspace.patch(), REDACTOR.text)
    again = tmp_path / "again"
    git("clone", "-q", tree, again, "-b", "work")
    git("apply", "--index", "-", cwd=again, stdin=patch)
    assert (again / "old.txt").read_text() == f"one\n{token(7)}\nand {OWN}\nmore {MASK}\n"
    assert (again / "new.txt").read_text() == f"+++ {MASK}\n--- x\n@@ -1 +1 @@\ndiff --git a/x b/x\n{MASK}"
    assert (again / MASK).read_text() == "x\n"
    assert (again / "picture.bin").read_bytes() == bytes(range(256)) * 10
    assert not (again / "wide.txt").exists()
    plain = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    assert masked(plain, REDACTOR.text) == plain
