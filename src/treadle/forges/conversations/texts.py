"""What is written at a forge: marked, so that it is found again, and short enough to be taken; and what is read there,
for an agent. Pure."""

import re
from collections.abc import Iterable, Sequence

from treadle.domain.deliveries import Check
from treadle.domain.errors import ForgeError
from treadle.ports.conversations import Finding

#: Longest text that is written, in characters; GitHub takes 65,536.
MAX_TEXT = 60_000

#: Longest text beside a line, in characters.
MAX_FINDING = 10_000

#: Findings that stand beside their lines; the others stand in the review's body.
MAX_FINDINGS = 50

#: How much of a failed check's log is kept, in bytes: its end.
MAX_LOG_BYTES = 64 << 10

#: Failed parts of a suite or pipeline whose logs are read.
MAX_PARTS = 3

_MARKER = re.compile(r"[A-Za-z0-9.:_-]{1,120}")
_HIDDEN = "<!-- treadle:"
#: In its place where somebody else wrote it; what is left makes no new one.
_SHOWN = "<!-- treadle;"

#: Colours, and the marks by which GitLab folds a log; bounded, as who writes a log may begin any number of them.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|section_(?:start|end):\d{1,20}:[^\r\n]{0,500}\r")
#: A time before each line: GitHub's and Gitea's; GitLab's has the stream's number behind it.
_TIMES = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z (?:\d\d[EO][+ ]?)?", re.MULTILINE)
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def mark_of(marker: str) -> str:
    """What a text with that marker holds."""
    if not _MARKER.fullmatch(marker):
        raise ValueError(f"{marker!r} is no marker")
    return f"{_HIDDEN}{marker} -->"


def marked(body: str, marker: str) -> str:
    """The marker comes first, where nothing that an agent wrote can hide it; and none that it wrote counts."""
    head = f"{mark_of(marker)}\n"
    text = body.replace("\0", "").replace(_HIDDEN, _SHOWN)
    most = MAX_TEXT - len(head)
    return head + (text if len(text) <= most else f"{text[: most - 3]}\n\n…")


def part_of(marker: str, number: int) -> str:
    """Of a part of what is said in several pieces."""
    return f"{marker}.{number}"


def beside_text(text: str) -> str:
    """Of a finding, beside its line."""
    return text.replace("\0", "").replace(_HIDDEN, _SHOWN)[:MAX_FINDING]


def with_findings(body: str, findings: Sequence[Finding]) -> str:
    """The body, and below it what could not stand beside its line."""
    if not findings:
        return body
    said = "\n".join(f"- {_code(finding)}: {_indented(finding.text)}" for finding in findings)
    return f"{body.rstrip()}\n\n{said}\n".lstrip()


def _code(finding: Finding) -> str:
    path = " ".join(finding.path.replace("`", "'").split())
    return f"`{path}:{finding.line}`"


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n  ")


def log_text(raw: bytes, size: int = MAX_LOG_BYTES) -> str:
    """The end of a log as a person reads it: without colours, times and what a line's own progress overwrote."""
    text = _ESCAPES.sub("", raw.decode("utf-8", errors="ignore")).replace("\r\n", "\n")
    lines = (line.rpartition("\r")[2] for line in text.split("\n"))
    return end_of(_UNSEEN.sub("", _TIMES.sub("", "\n".join(lines))), size)


def end_of(text: str, size: int) -> str:
    """At most that many bytes, from the beginning of a line where there is one."""
    raw = text.encode()
    if len(raw) <= size:
        return text
    cut = raw[-size:].decode("utf-8", errors="ignore")
    return cut.partition("\n")[2] or cut


def number_of(check: Check) -> str:
    """Its id, for a path. Raises ForgeError."""
    if not (check.id.isascii() and check.id.isdecimal()):
        raise ForgeError(f"The check {check.name[:100]} has an id that is none of this forge.")
    return check.id


def parts_text(parts: Iterable[tuple[str, str]]) -> str:
    """Of several logs, each by the name of what wrote it; what there is of room is divided among them."""
    found = [(name, log) for name, log in parts if log]
    room = MAX_LOG_BYTES // max(1, len(found)) - 200
    return "\n\n".join(f"== {' '.join(name.split())[:100]} ==\n{end_of(log, room)}" for name, log in found)
