"""Plans as YAML texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.domain.errors import InvalidInput
from treadle.domain.plan import NOT_VALID, Plan, read_plan
from treadle.domain.plan_parts import SHOWN, shown

if TYPE_CHECKING:
    import yaml


#: Longest plan that the page takes, in characters: a parser in Python reads it while somebody waits.
MAX_PASTED_PLAN = 100_000

#: Lists and mappings in each other that it may hold: the time to read them grows with the square.
MAX_PASTED_DEPTH = 50

#: Of `<<`, which may be there more than once: each merges its own.
_MERGE = "tag:yaml.org,2002:merge"


def parse_plan(text: str) -> Plan:
    """A plan of one's own. Raises ValueError with the end of a sentence for what is no YAML (`not valid YAML at line
    3`), InvalidInput naming every fault in one."""
    return read_plan(read_yaml(text, NOT_VALID))


def read_yaml(text: str, not_valid: str) -> object:
    """What people write, with no key twice. Raises ValueError as above, InvalidInput that begins with `not_valid`."""
    import yaml  # noqa: PLC0415 - not at import: only those who give a plan pay for it

    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if repeated := _repeated(node):
                raise InvalidInput(repeated, not_valid)
            return loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise ValueError("not valid YAML" + (f" at line {where.line + 1}" if where is not None else "")) from None
    except (ValueError, OverflowError):  # a date or a number that is none
        raise ValueError("not valid YAML") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_pasted_plan(text: str) -> Plan:
    """A plan of somebody who is not trusted with this process. Raises InvalidInput, path `plan` for what is no plan."""
    import yaml  # noqa: PLC0415 - as above

    if len(text) > MAX_PASTED_PLAN:
        raise InvalidInput({"plan": [f"Must be at most {MAX_PASTED_PLAN:,} characters."]})
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            # Merged aliases of aliases grow without end, and no plan needs one.
            if isinstance(event, yaml.AliasEvent):
                where = event.start_mark
                at = f", as at line {where.line + 1}" if where is not None else ""
                raise InvalidInput({"plan": [f"Must not hold aliases{at}."]})
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_PASTED_DEPTH:
                raise InvalidInput({"plan": ["Is nested too deeply."]})
    except yaml.YAMLError:
        pass  # which is said in the next line, with where
    try:
        return parse_plan(text)
    except ValueError as error:
        raise InvalidInput({"plan": [f"Is {error}."]}) from None


def _repeated(root: "yaml.Node | None") -> dict[str, list[str]]:
    """The keys that a mapping has more than once, of which a parser would take the last and say nothing: by their
    paths, and where they are."""
    import yaml  # noqa: PLC0415 - as above

    faults: dict[str, list[str]] = {}
    left, seen = [("", root)], set[int]()
    while left and len(faults) < SHOWN:
        path, node = left.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += [(f"{path}[{at}]", each) for at, each in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], list[int]] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):  # no other is one that can be read
                    left.append((_below(path, key.value), value))
                    if key.tag != _MERGE:
                        lines.setdefault((key.tag, key.value), []).append(key.start_mark.line + 1)
            for (_, key), each in lines.items():
                if len(each) > 1:
                    faults[_below(path, key)] = [f"is there more than once, at lines {_listed(each)}"]
    return faults


def _below(path: str, key: str) -> str:
    return f"{path}.{shown(key)}" if path else shown(key)


def _listed(lines: Sequence[int]) -> str:
    return ", ".join(map(str, lines[:SHOWN]))
