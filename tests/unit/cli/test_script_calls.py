"""What scripts may ask for is one table, wherever they run."""

from typing import Any, cast

import pytest

from treadle.cli.script_calls import RemoteCalls
from treadle.domain.errors import InvalidInput
from treadle.ports.scripting import JsonValue, ScriptCall
from treadle.scripting.calls import CALLS
from treadle.services.script_calls import ScriptCalls


@pytest.mark.parametrize("made", [RemoteCalls(*cast("Any", [None] * 2)), ScriptCalls(*cast("Any", [None] * 4))])
def test_every_call_of_the_table_is_answered_and_no_other(made: RemoteCalls | ScriptCalls) -> None:
    assert made.names == frozenset(CALLS)


SECRET = "https://bot:hush@git.example/acme/shop.git"
FILLED = "https://${{ who }}@git.example/acme/shop.git"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        ("git_ssh_key", {"repository": "acme/shop", "git_ssh_key": "hush"}),
        ("git_http_credentials", {"plan": "steps: [a]", "git_http_credentials": "hush"}),
        ("claude_authentication", {"plan": {"steps": ["a"]}, "claude_authentication": {"api_key": "hush"}}),
        ("gitSshKey", {"repository": 1, "gitSshKey": "hush"}),
        ("git_url", {"plan": "steps: [a]", "git_url": SECRET}),
        ("repository", {"repository": SECRET}),
        ("repo", {"plan": f"repo: {SECRET}\nsteps: [a]"}),
        ("repo", {"plan": {"repo": SECRET, "steps": ["a"]}}),
        ("repo", {"plan": f"repo: {FILLED}\nvariables: {{who: x}}\nsteps: [a]", "variables": {"who": "bot:hush"}}),
        ("repo", {"plan": {"repo": FILLED, "variables": {"who": "bot:hush"}, "steps": ["a"]}}),
        ("plan", {"plan": f"repo: [{SECRET}"}),
        ("plan", {"plan": [SECRET]}),
        ("variables.where", {"plan": "steps: [a]", "variables": {"where": SECRET}}),
        ("steps[0].step", {"repository": 1, "steps": [{"step": f"Look at {SECRET}"}]}),
    ],
)
async def test_what_a_service_would_keep_and_refuse_is_not_sent(named: str, arguments: dict[str, JsonValue]) -> None:
    """There is no client here that a request could leave by."""
    calls = RemoteCalls(*cast("Any", [None] * 2))
    with pytest.raises(InvalidInput) as refused:
        await calls.call(ScriptCall(1, "codegeneration.start", arguments, "digest"))
    assert refused.value.faults.keys() == {named}
    assert "hush" not in f"{refused.value} {refused.value.faults}"
