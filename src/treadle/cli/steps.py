"""The steps of a run as the command line and a plan file give them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.domain.errors import ConfigurationError, InvalidInput

_PLAN_KEYS: Final = frozenset({"repo", "source", "branch", "engine", "guidelines", "steps"})
_KIND_KEYS: Final = ("step", "analysis")
_STEP_KEYS: Final = frozenset({*_KIND_KEYS, "structured"})

#: A plan is written by hand; one larger than this, in bytes, is another file.
_MAX_PLAN_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step as asked for."""

    text: str
    is_commitable: bool = True
    is_structured: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan file says; None where it says nothing."""

    repo: str | None = None
    source: str | None = None
    branch: str | None = None
    engine: str | None = None
    guidelines: str | None = None
    steps: tuple[StepSpec, ...] = ()


def in_order(order: Iterable[str], steps: Sequence[str], analyses: Sequence[str], structured: bool) -> list[StepSpec]:
    """The steps as they stood on the command line; `order` names the option of each."""
    values: Mapping[str, Iterator[str]] = {"step": iter(steps), "analysis": iter(analyses)}
    return [StepSpec(next(values[name]), name == "step", structured) for name in order if name in values]


def text_or_file(value: str) -> str:
    """The text itself, or that of the file in `@FILE`. Raises ConfigurationError."""
    if not value.startswith("@"):
        return value
    return read_text(Path(value[1:]).expanduser())


def read_text(path: Path) -> str:
    """A UTF-8 file, whole. Raises ConfigurationError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"The file {path} is not UTF-8 text.") from None


def load_plan(path: Path) -> Plan:
    """Reads a plan. Raises ConfigurationError for a file that is no YAML, InvalidInput naming every fault in one."""
    import yaml  # not at import: only those who give a plan pay for it

    text = read_text(path)
    if len(text) > _MAX_PLAN_BYTES:
        raise ConfigurationError(f"The plan {path} is larger than {_MAX_PLAN_BYTES:,} bytes.")
    try:
        found: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise ConfigurationError(f"The plan {path} is not valid YAML{line}.") from None
    return read_plan(found)


def read_plan(found: object) -> Plan:
    """The plan in parsed YAML. Raises InvalidInput naming every fault."""
    faults: dict[str, list[str]] = {}
    if not isinstance(found, dict):
        raise InvalidInput({"plan": ["must be a mapping with the key `steps`"]}, "The plan is not valid.")
    for key in found:
        if key not in _PLAN_KEYS:
            faults[str(key)] = [f"is not a key of a plan; there are {', '.join(sorted(_PLAN_KEYS))}"]
    texts: dict[str, str | None] = {}
    for key in sorted(_PLAN_KEYS - {"steps"}):
        value = found.get(key)
        if value is None or isinstance(value, str):
            texts[key] = value
        else:
            faults[key] = ["must be text"]
    steps = tuple(_read_steps(found.get("steps"), faults))
    if faults:
        raise InvalidInput(faults, "The plan is not valid.")
    return Plan(**texts, steps=steps)


def _read_steps(found: object, faults: dict[str, list[str]]) -> Iterator[StepSpec]:
    if found is None:
        return
    if not isinstance(found, list):
        faults["steps"] = ["must be a list"]
        return
    for index, entry in enumerate(found):
        if isinstance(entry, str):
            yield StepSpec(entry)
            continue
        said = _faults_of(entry)
        if said or not isinstance(entry, dict):
            faults[f"steps[{index}]"] = said
            continue
        kind = next(kind for kind in _KIND_KEYS if kind in entry)
        yield StepSpec(entry[kind], kind == "step", entry.get("structured", False))


def _faults_of(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be text, or a mapping with `step` or `analysis`"]
    said = [f"`{key}` is not a key of a step; there are analysis, step, structured" for key in set(entry) - _STEP_KEYS]
    kinds = [kind for kind in _KIND_KEYS if kind in entry]
    if len(kinds) != 1:
        said.append("must have one of `step` and `analysis`")
    said += [f"`{kind}` must be text" for kind in kinds if not isinstance(entry[kind], str)]
    if not isinstance(entry.get("structured", False), bool):
        said.append("`structured` must be true or false")
    return sorted(said)
