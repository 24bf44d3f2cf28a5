"""Plans as YAML texts."""

from treadle.domain.errors import InvalidInput
from treadle.domain.plan import Plan, read_plan

#: Longest plan that the page takes, in characters: a parser in Python reads it while somebody waits.
MAX_PASTED_PLAN = 100_000


def parse_plan(text: str) -> Plan:
    """A plan of one's own. Raises ValueError with the end of a sentence for what is no YAML (`not valid YAML at line
    3`), InvalidInput naming every fault in one."""
    import yaml  # noqa: PLC0415 - not at import: only those who give a plan pay for it

    try:
        found: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise ValueError("not valid YAML" + (f" at line {where.line + 1}" if where is not None else "")) from None
    except (ValueError, OverflowError):  # a date or a number that is none
        raise ValueError("not valid YAML") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return read_plan(found)


def parse_pasted_plan(text: str) -> Plan:
    """A plan of somebody who is not trusted with this process. Raises InvalidInput, path `plan` for what is no plan."""
    import yaml  # noqa: PLC0415 - as above

    if len(text) > MAX_PASTED_PLAN:
        raise InvalidInput({"plan": [f"Must be at most {MAX_PASTED_PLAN:,} characters."]})
    try:
        # Merged aliases of aliases grow without end, and no plan needs one.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise InvalidInput({"plan": ["Must not hold aliases."]})
    except yaml.YAMLError:
        pass  # which is said in the next line, with where
    try:
        return parse_plan(text)
    except ValueError as error:
        raise InvalidInput({"plan": [f"Is {error}."]}) from None
