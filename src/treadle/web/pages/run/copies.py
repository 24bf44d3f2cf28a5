"""The same run as a call of curl, of the SDK and of the CLI, to be copied. No key is in it: each has its own."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.run import EngineName, Run, RunPurpose, Step
from treadle.web.forms import amount_text

#: Printable for Python, and yet nothing to be seen.
_UNSEEN = re.compile("[\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")


@dataclass(frozen=True, slots=True)
class Copy:
    id: str
    name: str
    text: str


def copies(run: Run, origin: str) -> Sequence[Copy]:
    """`origin`: the service's address. None for a run that nobody asks for by itself."""
    if run.purpose is not RunPurpose.CODE:
        return ()
    steps = [step for step in run.steps if not step.is_follow_up]
    forms = _agent(run, steps[0], origin) if is_agent_run(run) else _process(run, steps, origin)
    return [Copy(f"copy-{name.lower()}", name, text) for name, text in forms]


def is_agent_run(run: Run) -> bool:
    """One prompt for a registered repository, on a branch that was named here."""
    asked = [step for step in run.steps if not step.is_follow_up]
    is_named_here = run.branch_work.startswith(f"treadle/{run.id}-")
    return run.repository_id is not None and is_named_here and len(asked) == 1 and asked[0].is_commitable


def quoted(text: str) -> str:
    """One word for a shell. What cannot be seen is written as an escape, which bash and zsh know: nothing hidden gets
    into a terminal."""
    if not any(map(_is_hidden, text)):
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _is_hidden(character: str) -> bool:
    return character != "\n" and (not character.isprintable() or _UNSEEN.match(character) is not None)


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if not _is_hidden(character):
        return character
    code = ord(character)
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"  # noqa: PLR2004 - the longest that \u takes


def _agent(run: Run, step: Step, origin: str) -> Sequence[tuple[str, str]]:
    body: dict[str, JsonValue] = {"prompt": step.text, "repo_id": run.repository_id}
    model = EngineName.DUMMY.lower() if run.engine is EngineName.DUMMY else run.model
    if model:
        body["model"] = model
    bounds = _bounds(run)
    body |= {"max_cost_usd" if name == "maxCostUsd" else name: value for name, value in bounds.items()}
    given = [f"repository={run.repository_id}", *([f"model={model!a}"] if model else []), *_bounds_of_sdk(run)]
    sdk = _sdk(origin, ["run = client.agents.run(", f"    {step.text!a},", *(f"    {each}," for each in given), ")"])
    cli = ["treadle agent run", f"--url {quoted(origin)}", f"--repo {run.repository_id}"]
    cli += [*([f"--model {quoted(model)}"] if model else []), *_bounds_of_cli(run)]
    return [
        ("curl", _curl(f"{origin}/v1/organizations/{run.organization_id}/agent/run", body)),
        ("SDK", f"{sdk}\n    print(run.web_url)"),
        ("CLI", _lines([*cli, f"-- {quoted(step.text)}"])),
    ]


def _process(run: Run, steps: Sequence[Step], origin: str) -> Sequence[tuple[str, str]]:
    body: dict[str, JsonValue] = {
        "gitUrl": run.git_url,
        "branchSource": run.branch_source,
        "branchWork": run.branch_work,
        "steps": [
            {"step": step.text, "isCommitableStep": step.is_commitable, "isStructuredOutput": step.is_structured}
            for step in steps
        ],
        "engine": run.engine.value,
        "generateDiffOnCompletion": run.generate_diff,
    }
    if run.code_guidelines:
        body["codeGuidelines"] = run.code_guidelines
    if run.file_ids:
        body["fileIds"] = [str(each) for each in run.file_ids]
    body |= _bounds(run)
    forms = [
        ("curl", _curl(f"{origin}/code-generation/processes", body)),
        ("SDK", f"{_sdk(origin, _call(run, steps))}\n    print(process.id)"),
    ]
    is_structured = {step.is_structured for step in steps}
    if len(is_structured) == 1:  # the CLI asks all steps for it, or none
        forms.append(("CLI", _lines(_start(run, steps, origin, is_structured=is_structured.pop()))))
    return forms


def _call(run: Run, steps: Sequence[Step]) -> list[str]:
    """Of the SDK. Python's own escapes, in ASCII: nothing is hidden there either."""
    lines = ["process = client.processes.start("]
    lines += [f"    {name}={value!a}," for name, value in (
        ("git_url", run.git_url), ("branch_source", run.branch_source), ("branch_work", run.branch_work),
    )]  # fmt: skip
    lines.append("    steps=[")
    for step in steps:
        more = ("" if step.is_commitable else ", commitable=False") + (
            ", structured=True" if step.is_structured else ""
        )
        lines.append(f"        Step({step.text!a}{more}),")
    lines += ["    ],", f"    engine={run.engine.value!a},"]
    if run.code_guidelines:
        lines.append(f"    code_guidelines={run.code_guidelines!a},")
    if run.file_ids:
        lines.append(f"    file_ids={[str(each) for each in run.file_ids]},")
    lines += [f"    {each}," for each in _bounds_of_sdk(run)]
    if run.generate_diff:
        lines.append("    generate_diff_on_completion=True,")
    return [*lines, ")"]


def _start(run: Run, steps: Sequence[Step], origin: str, *, is_structured: bool) -> list[str]:
    words = ["treadle start", f"--url {quoted(origin)}", f"--repo={quoted(run.git_url)}"]
    words += [f"--branch={quoted(run.branch_work)}", f"--source={quoted(run.branch_source)}"]
    words += [f"--{'step' if step.is_commitable else 'analysis'}={quoted(step.text)}" for step in steps]
    words.append(f"--engine={run.engine.value.lower()}")
    if run.code_guidelines:
        words.append(f"--guidelines={quoted(run.code_guidelines)}")
    words += _bounds_of_cli(run)
    words += ["--structured"] if is_structured else []
    return [*words, *(["--diff"] if run.generate_diff else [])]


def _bounds(run: Run) -> dict[str, JsonValue]:
    """What it may cost and connect to, where it says so itself."""
    found: dict[str, JsonValue] = {}
    if run.max_cost_usd is not None:
        found["maxCostUsd"] = run.max_cost_usd
    if run.network is not None:
        found["network"] = run.network.json()
    return found


def _bounds_of_sdk(run: Run) -> list[str]:
    names = {"maxCostUsd": "max_cost_usd"}
    return [f"{names.get(name, name)}={value!a}" for name, value in _bounds(run).items()]


def _bounds_of_cli(run: Run) -> list[str]:
    words = [f"--max-cost={amount_text(run.max_cost_usd)}"] if run.max_cost_usd is not None else []
    return [*words, *([f"--network={quoted(str(run.network))}"] if run.network is not None else [])]


def _curl(url: str, body: JsonObject) -> str:
    return _lines(
        [
            f"curl --fail-with-body -sS {quoted(url)}",
            '-H "Authorization: Bearer $TREADLE_API_KEY"',
            "-H 'Content-Type: application/json'",
            f"--data-raw {shlex.quote(json.dumps(body, indent=2))}",  # ASCII
        ]
    )


def _sdk(origin: str, call: Sequence[str]) -> str:
    imported = "Client, Step" if any("Step(" in line for line in call) else "Client"
    inner = "\n".join(f"    {line}" for line in call)
    return f"from treadle import {imported}\n\nwith Client({origin!a}) as client:  # the key: TREADLE_API_KEY\n{inner}"


def _lines(words: Sequence[str]) -> str:
    return " \\\n  ".join(words)
