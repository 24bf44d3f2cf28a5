"""Where in a script the interpreter is, or was: read from its own stack, since its errors name the places of calls
only. A stack that looks otherwise than expected gives fewer places, and nothing else."""

from collections.abc import Iterator
from inspect import currentframe
from types import FrameType, TracebackType
from typing import Final

_NODES: Final = {"_exec_stmt": "stmt", "_eval_expr_inner": "expr"}
_EVALUATOR: Final = "starlark.eval.evaluator"


def places_of(error: BaseException) -> list[tuple[str, int]]:
    """Each function of the script on the way to where `error` was raised, outermost first, with the offset in the
    source."""
    return _places(_frames(error.__traceback__))


def missing_in(value: object, error: BaseException) -> str | None:
    """The attribute that `value` lacked, if that is what the error is of."""
    frame = next(iter(reversed(list(_frames(error.__traceback__)))), None)
    if frame is None or frame.f_code.co_name != "_attr_get" or frame.f_globals.get("__name__") != _EVALUATOR:
        return None
    name = frame.f_locals.get("name")
    return name if frame.f_locals.get("obj") is value and isinstance(name, str) else None


def place_here() -> int | None:
    """The offset in the source of what is being executed."""
    stack: list[FrameType] = []
    frame = currentframe()
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    found = _places(reversed(stack))
    return found[-1][1] if found else None


def _frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _places(stack: Iterator[FrameType]) -> list[tuple[str, int]]:
    found: dict[int, tuple[str, int]] = {}
    for frame in stack:
        name = _NODES.get(frame.f_code.co_name)
        if name is None or frame.f_globals.get("__name__") != _EVALUATOR:
            continue
        start = getattr(frame.f_locals.get(name), "start", None)
        scope = frame.f_locals.get("frame")
        if isinstance(start, int) and scope is not None:
            found[id(scope)] = (str(getattr(scope, "function_name", "?")), start)
    return list(found.values())
