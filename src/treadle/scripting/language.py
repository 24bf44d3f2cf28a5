"""What a script finds besides Starlark itself."""

from collections.abc import Callable
from typing import Any, Final

import starlark

from treadle.scripting.calls import CALLS, Signature
from treadle.scripting.places import place_here
from treadle.scripting.talk import Talk
from treadle.scripting.values import to_json, to_script


class Failed(starlark.EvalError):
    """The script called `fail`."""


class Language:
    """The names of one execution, and what came of them."""

    def __init__(self, talk: Talk, inputs: object, limits: dict[str, Any], line_of: Callable[[int], int]) -> None:
        self.output: object = None
        self._talk = talk
        self.inputs: Final = to_script(inputs)
        self._limits = limits
        self._line_of = line_of
        self._calls = 0

    def names(self) -> dict[str, Any]:
        """All of them, by name."""
        grouped: dict[str, dict[str, Any]] = {}
        for name, signature in CALLS.items():
            group, _, method = name.partition(".")
            grouped.setdefault(group, {})[method] = self._caller(name, signature)
        return {
            **{group: starlark.namespace(group, methods) for group, methods in grouped.items()},
            "print": starlark.BuiltinFunction(name="print", impl=self._print),
            "fail": starlark.BuiltinFunction(name="fail", impl=_fail),
            "output": starlark.BuiltinFunction(name="output", impl=self._output),
            "hash": starlark.BuiltinFunction(name="hash", impl=_hash),
            "inputs": self.inputs,
        }

    def _caller(self, name: str, signature: Signature) -> Callable[..., object]:
        def call(*given: Any, **named: Any) -> object:
            arguments = {key: to_json(value) for key, value in bind(name, signature, given, named).items()}
            self._calls += 1
            message: dict[str, object] = {
                "call": self._calls,
                "name": name,
                "arguments": arguments,
                "line": self._here(),
            }
            self._talk.say(message, self._limits["arguments_bytes"], f"What {name} is given")
            return to_script(self._talk.hear()["answer"])

        return call

    def _print(self, *values: Any, sep: str = " ") -> None:
        text = str(sep).join(_text(value) for value in values)
        self._talk.say({"print": text, "line": self._here()}, self._limits["log_bytes"], "A printed line")

    def _output(self, value: Any) -> None:
        self.output = to_json(value)

    def _here(self) -> int | None:
        place = place_here()
        return self._line_of(place) if place is not None else None


def bind(name: str, signature: Signature, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name. Raises EvalError."""
    known = signature.required + signature.optional
    if len(given) > len(known):
        taken = f"at most {len(known)} arguments" if known else "its arguments by name"
        raise starlark.EvalError(f"{name} takes {taken}")
    found = dict(zip(known, given, strict=False))
    for key, value in named.items():
        if key in found:
            raise starlark.EvalError(f"{name} was given {key} twice")
        if key not in known and not signature.is_open:
            raise starlark.EvalError(f"{name} has no argument {key}")
        found[key] = value
    for key in signature.required:
        if not isinstance(found.get(key), str):
            raise starlark.EvalError(f"{name} needs {key}, a string")
    return found


def _fail(*values: Any, sep: str = " ") -> None:
    raise Failed(str(sep).join(_text(value) for value in values))


def _text(value: object) -> str:
    return value if isinstance(value, str) else _STR(value)


_STR: Final[Callable[[object], str]] = starlark.make_universal()["str"].impl


_ASTRAL: Final = 1 << 16


def _hash(text: Any) -> int:
    """The same in every process, which the interpreter's own is not: what the reference implementation gives."""
    if not isinstance(text, str):
        raise starlark.EvalError("hash takes a string")
    found = 0
    for character in text:
        code = ord(character)
        halves = (code,) if code < _ASTRAL else (0xD7C0 + (code >> 10), 0xDC00 + (code & 0x3FF))  # as UTF-16 has it
        for half in halves:
            found = (31 * found + half) & 0xFFFF_FFFF
    return found - (1 << 32) if found >= 1 << 31 else found
