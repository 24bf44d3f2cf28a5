"""The process of one execution: reads what to run from its line, closes itself in, runs it, and says how it ended.

`python -I -m treadle.scripting.child FD`. It imports nothing of Treadle's but this package, since every execution pays
for it.
"""

import decimal  # noqa: F401  # the interpreter imports it when it first formats a number, and no file opens then
import os
import sys
from typing import Any, Final

import starlark
import starlark.eval.loader  # noqa: F401  # as above
from starlark.syntax import FileLocations

from treadle.scripting import walls
from treadle.scripting.language import Failed, Language
from treadle.scripting.names import check
from treadle.scripting.places import missing_in, places_of
from treadle.scripting.sizes import size_text
from treadle.scripting.talk import HostGone, Talk, TooMuch

#: The exit code of one that had no memory left to say so.
OUT_OF_MEMORY: Final = 86

#: Frames of Python; the interpreter's own bounds come first.
_RECURSION: Final = 10_000


def main() -> None:
    """Ends the process without Python's own clearing up, which a script has no business in."""
    talk = Talk(int(sys.argv[1]))
    try:
        request = talk.hear()
        limits = request["limits"]
        sys.setrecursionlimit(_RECURSION)
        walls.limit(limits["memory_bytes"], limits["cpu_seconds"])
        walls.close_in()
        _execute(talk, request, limits)
    except HostGone:
        os._exit(1)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    os._exit(0)


def _execute(talk: Talk, request: dict[str, Any], limits: dict[str, Any]) -> None:
    locations = FileLocations(request["name"], request["source"])
    language = Language(talk, request["inputs"], limits, lambda offset: locations.position(offset).line)
    try:
        steps = _run(request, language, limits)
        talk.say({"done": language.output, "steps": steps}, limits["output_bytes"], "The output")
    except starlark.StarlarkSyntaxException as error:
        first = error.errors[0]
        _say_failed(talk, "syntax", _sentence(str(first.message)), (("", first.position.line),), first.position.column)
    except (starlark.EvalError, RecursionError, MemoryError) as error:
        fault, message = _reason(error, limits)
        if (name := missing_in(language.inputs, error)) is not None:
            message = f"The inputs have no `{name}`."
        trace = tuple((function, locations.position(offset).line) for function, offset in places_of(error))
        del error
        _say_failed(talk, fault, message, trace, None)


def _run(request: dict[str, Any], language: Language, limits: dict[str, Any]) -> int:
    names = language.names()
    check(request["source"], request["name"], frozenset(names))
    if request["only_check"]:
        return 0
    program = starlark.compile(request["source"], request["name"], mode="file")
    module = program.exec(predeclared=names, max_steps=limits["steps"], max_allocs=limits["allocated_bytes"])
    return int(module.thread.steps)


def _reason(error: Exception, limits: dict[str, Any]) -> tuple[str, str]:
    """The fault, and a sentence."""
    fault = "limit"
    match error:
        case Failed():
            fault, message = "fail", error.message or "The script called fail()."
        case TooMuch():
            message = error.message
        case starlark.StepLimitExceeded():
            message = f"The script took more than {limits['steps']:,} steps."
        case starlark.AllocLimitExceeded():
            message = f"The script allocated more than {size_text(limits['allocated_bytes'])}."
        case MemoryError():
            message = f"The script used more than {size_text(limits['memory_bytes'])} of memory."
        case starlark.EvalError():
            fault, message = "error", _sentence(error.message)
        case _:
            message = "The script nests too deep."
    return fault, message


def _sentence(message: str) -> str:
    text = message.strip()
    if text.partition(" ")[0].isalpha():  # else it begins with a name of the script's
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _say_failed(talk: Talk, fault: str, message: str, trace: tuple[tuple[str, int], ...], column: int | None) -> None:
    talk.say({"failed": fault, "message": message[:10_000], "trace": trace[-50:], "column": column})


if __name__ == "__main__":
    main()
