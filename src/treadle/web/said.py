"""What a line of a trace says, and how it reads the data of events, which may have any shape."""

from dataclasses import dataclass

from treadle.domain.events import JsonObject


@dataclass(frozen=True, slots=True)
class Said:
    """`title` is ours; `detail` (a line) and `body` are others' texts."""

    title: str
    detail: str = ""
    body: str = ""
    tone: str = ""
    link: tuple[str, str] | None = None


def text_of(data: JsonObject, name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def number_of(data: JsonObject, name: str) -> float:
    """0 for what is none."""
    value = data.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and isinstance(value, int | float) and abs(value) < 1e15 else 0  # noqa: PLR2004 - as engines' lines
