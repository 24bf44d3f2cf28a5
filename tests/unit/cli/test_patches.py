import subprocess
from pathlib import Path

from treadle.cli.patches import FileChange, Kind, kinds, stat_lines

PATCH = """\
diff --git a/a.sql b/a.sql
index 1..2 100644
--- a/a.sql
+++ b/a.sql
@@ -1,3 +1,3 @@ heading
 select 1
--- a comment that looks like a header
+++ an addition that looks like one
 @@ -1 +1 @@ text
\\ No newline at end of file
diff --git a/b b/b
new file mode 100644
--- /dev/null
+++ b/b
@@ -0,0 +1 @@
+diff --git a/x b/x
"""


def test_lines_of_a_patch_are_told_apart_by_counting() -> None:
    assert [kind for kind, _ in kinds(PATCH.splitlines())] == [
        *(Kind.FILE, Kind.HEADER, Kind.HEADER, Kind.HEADER, Kind.HUNK),
        *(Kind.CONTEXT, Kind.REMOVED, Kind.ADDED, Kind.CONTEXT, Kind.CONTEXT),
        *(Kind.FILE, Kind.HEADER, Kind.HEADER, Kind.HEADER, Kind.HUNK, Kind.ADDED),
    ]


def test_gits_own_patches_end_between_hunks(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("".join(f"{n}\n" for n in range(100)))
    new.write_text("".join(f"{n}\n" for n in range(3, 110) if n % 17) + "end")
    patch = subprocess.run(["git", "diff", "--no-index", old, new], capture_output=True, text=True, check=False).stdout
    told = list(kinds(patch.splitlines()))
    assert sum(kind is Kind.HUNK for kind, _ in told) > 1
    assert all(line.startswith("@@") for kind, line in told if kind is Kind.HUNK)
    assert all(line[0] in " \\" for kind, line in told if kind is Kind.CONTEXT)


def test_the_list_of_files() -> None:
    files = [
        FileChange("src/words.py", None, 30, 2, is_binary=False, word=""),
        FileChange("new.py", "old.py", 0, 0, is_binary=False, word="renamed"),
        FileChange("logo.png", None, 0, 0, is_binary=True, word="new"),
        FileChange("evil\x1b[2J.py", None, 1, 0, is_binary=False, word="new"),
    ]
    assert list(stat_lines(files, 100)) == [
        " src/words.py     | 32 ++++++++++++++++++++++++++++++--",
        " old.py => new.py |  0 (renamed)",
        " logo.png         | Bin (new)",
        " evil.py          |  1 + (new)",
        " 4 files changed, 31 added, 2 removed",
    ]


def test_large_changes_are_scaled() -> None:
    files = [FileChange("a", None, 5_000, 1, is_binary=False, word="")]
    assert len(next(stat_lines(files, 100))) < 60
