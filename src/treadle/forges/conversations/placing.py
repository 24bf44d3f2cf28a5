"""Which findings stand beside their lines. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from treadle.forges.conversations.lines import Lines
from treadle.forges.conversations.texts import MAX_FINDINGS
from treadle.ports.conversations import Finding


@dataclass(frozen=True, slots=True)
class Placed:
    beside: tuple[Finding, ...]
    elsewhere: tuple[Finding, ...]


def place(findings: Sequence[Finding], shown: Mapping[str, Lines]) -> Placed:
    """`shown`: the lines that the pull request's diff has, by path."""
    beside = [finding for finding in findings if finding.line in shown.get(finding.path, {})][:MAX_FINDINGS]
    kept = {id(finding) for finding in beside}
    return Placed(tuple(beside), tuple(finding for finding in findings if id(finding) not in kept))
