"""What a step's commit says: the step's text, then the trailer that marks it. Pure.

The text is an attacker's to choose, so a trailer counts only where Treadle puts it: as the last line of the last
paragraph, alone of its kind there. What the text holds stands in paragraphs before it.
"""

import re
from uuid import UUID

from treadle.domain.run import STEP_TRAILER

#: A longer first line is cut for the subject, and repeated whole in the body.
MAX_SUBJECT = 100

FALLBACK_NAME, FALLBACK_EMAIL = "Treadle", "treadle@localhost"

_TRAILER = re.compile(rf"{STEP_TRAILER}: ([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
#: What Git strips from the ends of a name, and refuses a name for that is made of nothing else.
_CRUD = "".join(map(chr, range(0x21))) + ".,:;<>\"\\'"


def message(text: str, step: UUID) -> bytes:
    """The commit's message: the first line of `text` as the subject, the rest as the body, the trailer."""
    clean = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = [line.rstrip() for line in clean.strip().split("\n")]
    subject, body = lines[0] or "A step", "\n".join(lines[1:]).strip("\n")
    if len(subject) > MAX_SUBJECT:
        body = "\n".join(lines)
        subject = subject[: MAX_SUBJECT - 1].rsplit(" ", 1)[0] + "…"
    paragraphs = [subject, *([body] if body else []), f"{STEP_TRAILER}: {step}"]
    return ("\n\n".join(paragraphs) + "\n").encode(errors="replace")


def step_of(text: str) -> UUID | None:
    """The step whose commit has this message; None for any other commit."""
    last = text.rstrip("\n").split("\n\n")[-1].split("\n")
    found = [line for line in last if line.startswith(f"{STEP_TRAILER}:")]
    if len(found) != 1 or found[0] != last[-1]:
        return None
    match = _TRAILER.fullmatch(last[-1])
    return UUID(match[1]) if match is not None else None


def identity(name: str, email: str) -> tuple[str, str]:
    """Name and e-mail address as Git takes them: without angle brackets, control characters and what it strips."""
    return _field(name) or FALLBACK_NAME, _field(email) or FALLBACK_EMAIL


def _field(text: str) -> str:
    kept = "".join(character for character in text if character.isprintable() and character not in "<>")
    return kept.strip(_CRUD)
