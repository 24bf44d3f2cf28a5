"""Which files of a diff come folded: those that few would read."""

import re

from treadle.web.pages.diff.index import FileEntry, Kind

#: A new or deleted file of more lines comes folded; so does any file with more lines in its hunks than the second.
FOLD_NEW_LINES, FOLD_LINES = 400, 3000

_LOCK_FILES = frozenset(
    {
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "bun.lock",
        "deno.lock",
        "poetry.lock",
        "Pipfile.lock",
        "pdm.lock",
        "uv.lock",
        "Cargo.lock",
        "go.sum",
        "Gemfile.lock",
        "composer.lock",
        "mix.lock",
        "pubspec.lock",
        "Podfile.lock",
        "packages.lock.json",
        "flake.lock",
        ".terraform.lock.hcl",
    }
)
_GENERATED = re.compile(
    r"\.min\.(js|css)$|\.(js|css)\.map$|\.pb\.(go|cc|h)$|_pb2(_grpc)?\.pyi?$|\.g\.(cs|dart)$|\.designer\.cs$"
    r"|(^|/)(node_modules|vendor|dist|__snapshots__|__generated__)/",
    re.IGNORECASE,
)


def why_folded(entry: FileEntry) -> str | None:
    """In a few words; None for a file that is shown at once."""
    if not entry.lines:
        return None
    if entry.path.rpartition("/")[2] in _LOCK_FILES:
        return "A lock file"
    if _GENERATED.search(entry.path):
        return "A generated or vendored file"
    if entry.kind is Kind.DELETED and entry.lines > FOLD_NEW_LINES:
        return "A large deleted file"
    if entry.kind is Kind.ADDED and entry.lines > FOLD_NEW_LINES:
        return "A large new file"
    return "A large change" if entry.lines > FOLD_LINES else None
