"""The operator's own prices, as they are written: strictly, for what is misread would be charged wrongly."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from treadle.domain.prices import Price

#: In the order of `Price`.
_COLUMNS = ("input", "output", "cache read", "cache write", "cache write for an hour", "1,000 web searches")
_NEEDED = 4
_HOUR = 4  # the only one that may be null
_ORDINALS = ("1st", "2nd", "3rd", "4th", "5th", "6th")

PRICE_SHAPE = f"[{', '.join(_COLUMNS)}]"


def parse_prices(text: str) -> Mapping[str, Price]:
    """By the beginning of a model's name. Raises ValueError naming every fault."""
    try:
        table = json.loads(text, object_pairs_hook=tuple, parse_int=float)  # a list is an array
    except (ValueError, RecursionError):
        table = None
    if faults := list(_faults(table)):
        said = "; ".join(faults)
        raise ValueError(f"{said} (each model has {PRICE_SHAPE} in US dollars, the last two as you like)")
    return {model: Price(*numbers) for model, numbers in table}


def _faults(table: object) -> Iterator[str]:
    if not isinstance(table, tuple):
        yield "must be a JSON object"
        return
    yield from _name_faults([model for model, _ in table])
    for model, numbers in table:
        for fault in _price_faults(numbers):
            yield f"of {model}: {fault}"


def _name_faults(models: Sequence[str]) -> Iterator[str]:
    seen: set[str] = set()
    for model in models:
        if not model.strip():
            yield "a name is empty, and would be every model's"
        elif model.lower() in seen:
            yield f"{model} is there twice"
        seen.add(model.lower())


def _price_faults(numbers: object) -> Iterator[str]:
    if not isinstance(numbers, list):
        yield "must be a list"
        return
    if len(numbers) > len(_COLUMNS):
        yield f"there are {len(numbers)} numbers, and columns for {len(_COLUMNS)}"
    for index, (column, ordinal) in enumerate(zip(_COLUMNS, _ORDINALS, strict=True)):
        if index < len(numbers):
            fault = _number_fault(numbers[index], may_be_null=index == _HOUR)
        else:
            fault = "is missing" if index < _NEEDED else None
        if fault is not None:
            yield f"{column} ({ordinal}) {fault}"


def _number_fault(value: object, *, may_be_null: bool) -> str | None:
    if value is None and may_be_null:
        return None
    if not isinstance(value, float) or not math.isfinite(value):
        return "must be a number or null" if may_be_null else "must be a number"
    return "must be 0 or more" if value < 0 else None
