"""What tools are given, held to what they take. MCP's package passes over arguments that a tool does not have, and
tells of a wrong one in its parser's words, which repeat the value: it may be a key."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from treadle.api.fault_words import path_of, words_of
from treadle.domain.errors import InvalidInput

#: More faults than these are not written out.
MAX_FAULTS = 100

_ODD = "Is not valid."
_MUST_BE = "Must be "

Place = tuple[str | int, ...]


class StrictTool(Tool):
    """Takes its own arguments and no others, and tells what is wrong with them as the other APIs do."""

    @classmethod
    def of(cls, tool: Callable[..., Any], title: str, annotations: ToolAnnotations) -> Tool:
        made = cls.from_function(tool, title=title, annotations=annotations)
        taken = made.fn_metadata.arg_model
        taken.model_config["extra"] = "forbid"
        taken.model_rebuild(force=True)
        made.parameters = taken.model_json_schema(by_alias=True)
        return made

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        try:
            return await super().run(arguments, context, convert_result)
        except UnexpectedToolError:
            raise
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            faults = _faults(error.__cause__, self.fn_metadata.pre_parse_json(arguments), self.parameters)
        raise ToolError(f"Error executing tool {self.name}: {InvalidInput(faults).sentence()}")


def _faults(
    error: ValidationError, given: Mapping[str, object], schema: Mapping[str, Any]
) -> Mapping[str, Sequence[str]]:
    own = list(schema["properties"])
    inner = [name for found in schema.get("$defs", {}).values() for name in found.get("properties", {})]
    found = list[tuple[Place, bool, str]]()
    for fault in error.errors(include_url=False, include_input=False)[:MAX_FAULTS]:
        place, is_choice = _place(fault, given)
        found.append((place, is_choice, words_of(fault, own if len(place) == 1 else inner) or _ODD))
    insides = {place[:length] for place, _, _ in found for length in range(len(place))}
    said = dict[str, list[str]]()
    for place, is_choice, words in found:
        if not (is_choice and place in insides):  # the choice that was meant tells more
            said.setdefault(path_of(place), []).append(words)
    return {path: _joined(words) for path, words in said.items()}


def _place(fault: ErrorDetails, given: object) -> tuple[Place, bool]:
    """Where it is in what was given, without the parser's names for what a value may be one of; and whether it is a
    fault of one of these."""
    place, is_choice = list[str | int](), False
    location = fault["loc"]
    for at, part in enumerate(location, start=1):
        match part:
            case int() if isinstance(given, list):
                given, is_choice = given[part], False
            case str() if isinstance(given, dict) and part in given:
                given, is_choice = given[part], False
            case _:
                is_choice = at < len(location) or fault["type"] != "missing"
        if not is_choice:
            place.append(part)
    return tuple(place), is_choice


def _joined(said: Collection[str]) -> Sequence[str]:
    """What a value may be one of, in one sentence."""
    kinds = list(dict.fromkeys(said))
    if not all(each.startswith(_MUST_BE) for each in kinds):
        return kinds
    return [f"{_MUST_BE}{', or '.join(each.removeprefix(_MUST_BE).removesuffix('.') for each in kinds)}."]
