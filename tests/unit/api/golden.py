"""Answers compared with files. `GOLDEN=write` writes them anew, to be read in the change that they come with."""

import json
import os
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "golden" / "maitento"


def check_json(name: str, answer: bytes) -> None:
    """The order of the fields counts too: people read it."""
    check_text(f"{name}.json", json.dumps(json.loads(answer), indent=2, ensure_ascii=False) + "\n")


def check_text(name: str, answer: str) -> None:
    path = FOLDER / name
    if os.environ.get("GOLDEN") == "write":
        path.write_text(answer, encoding="utf-8")
    assert answer == path.read_text(encoding="utf-8")
