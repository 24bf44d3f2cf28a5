"""The structured answer: its schema, and reading one from what an engine said. The same for every engine."""

import json
from typing import Final

from treadle.domain.events import JsonObject
from treadle.domain.run import StructuredOutput

_TEXTS: Final = ("output", "thinking")
_FLAGS: Final = ("wasSuccessful", "didGenerateCode", "isAdditionalWorkRequiredToContinue")

#: JSON Schema of the answer, as it goes to a CLI that takes one.
SCHEMA: Final[JsonObject] = {
    "type": "object",
    "additionalProperties": False,
    "required": [*_TEXTS, *_FLAGS],
    "properties": {
        "output": {"type": "string", "description": "Detailed description of the work done, or the answer"},
        "thinking": {"type": "string", "description": "Step-by-step thought process"},
        "wasSuccessful": {"type": "boolean", "description": "Whether everything that was asked for is done"},
        "didGenerateCode": {"type": "boolean", "description": "Whether files of the repository were changed"},
        "isAdditionalWorkRequiredToContinue": {
            "type": "boolean",
            "description": "Whether somebody must do something before work can go on",
        },
    },
}

#: Asks for the answer in words, for a CLI that takes no schema.
INSTRUCTION: Final = (
    "When you are done, end with a message that is one JSON object and nothing else, without a code fence, that is"
    f" valid against this JSON Schema:\n{json.dumps(SCHEMA)}"
)


#: How many opening braces are tried, from the end: enough for an answer that quotes code, bounded for one that rambles.
_MAX_CANDIDATES: Final = 200


def parse(value: object) -> StructuredOutput:
    """The answer from parsed JSON. Raises ValueError naming every fault."""
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - a fault of the answer, not of the caller
    faults = [f"{name} is not a text" for name in _TEXTS if not isinstance(value.get(name), str)]
    faults += [f"{name} is not true or false" for name in _FLAGS if not isinstance(value.get(name), bool)]
    faults += [f"{name!r} is unknown" for name in value if name not in _TEXTS + _FLAGS]
    if faults:
        raise ValueError("; ".join(faults))
    return StructuredOutput(
        output=value["output"],
        thinking=value["thinking"],
        was_successful=value["wasSuccessful"],
        did_generate_code=value["didGenerateCode"],
        is_additional_work_required_to_continue=value["isAdditionalWorkRequiredToContinue"],
    )


def parse_text(text: str) -> StructuredOutput:
    """The answer from a message that should be nothing but JSON; words and a fence around it are forgiven, and of
    several objects the last that is whole counts. Raises ValueError."""
    decoder = json.JSONDecoder()
    fault = ValueError("there is no JSON object in it")
    end = len(text)
    for _ in range(_MAX_CANDIDATES):
        start = end = text.rfind("{", 0, end)
        if start < 0:
            break
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        try:
            return parse(value)
        except ValueError as error:
            fault = error
    raise fault
