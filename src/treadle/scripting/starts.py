"""What `codegeneration.start` of a service takes: looked at before it is sent, as its arguments are kept and shown."""

from typing import Final

from treadle.domain.git_url import split_credentials
from treadle.ports.scripting import JsonObject

_OF_STEPS: Final = frozenset(
    {
        "git_url",
        "repository",
        "branch_source",
        "branch_work",
        "steps",
        "code_guidelines",
        "file_ids",
        "generate_diff_on_completion",
        "engine",
        "max_cost_usd",
        "network",
        "validate",
    }
)
_OF_PLAN: Final = frozenset(
    {
        "plan",
        "git_url",
        "repository",
        "branch_source",
        "branch_work",
        "variables",
        "file_ids",
        "max_cost_usd",
        "pull_request",
    }
)
#: A script and its inputs are kept as they are, and so are the arguments of its calls.
_SECRETS: Final = frozenset({"git_ssh_key", "git_http_credentials", "claude_authentication"})
_NO_SECRETS: Final = "Is not taken from a stored script: register the repository, which keeps its credentials sealed."

Faults = dict[str, list[str]]


def start_faults(given: JsonObject) -> Faults:
    """What is wrong with these arguments whatever is in the plan; None is not among them."""
    known = _OF_PLAN if "plan" in given else _OF_STEPS
    faults: Faults = {name: ["Is no argument of codegeneration.start."] for name in given if name not in known}
    faults |= {name: [_NO_SECRETS] for name in given if name in _SECRETS}
    if "git_url" in given and "repository" in given:
        faults["repository"] = ["Give this or git_url, not both."]
    for name in ("git_url", "repository"):
        address = given.get(name)
        if isinstance(address, str) and "@" in address and split_credentials(address)[1] is not None:
            faults[name] = [_NO_SECRETS]
    return faults
