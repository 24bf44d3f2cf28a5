"""The branches that a call of a trigger URL is about, wherever its sender names them."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from treadle.domain.errors import InvalidInput
from treadle.services.run_rules import MAX_BRANCH

#: Branches of a call that are looked up: one with more is refused, as it could be of a run's own push.
MAX_CALL_BRANCHES = 1_000

_HEADS: Final = "refs/heads/"
#: However they are written: `head_branch`, `headBranch`.
_NAMES: Final = frozenset({"branch", "ref", "refname", "headbranch", "sourcebranch"})


def branches_of(body: bytes) -> Sequence[str]:
    """Raises InvalidInput for a body of which nobody can tell. One that is no JSON names none."""
    try:
        # No number is read: one too long to be read would hide what is beside it.
        sent: object = json.loads(body.decode("utf-8-sig", errors="replace").replace("\0", ""), parse_int=str)
    except RecursionError:
        raise InvalidInput({"body": ["Is nested too deeply to look for branches in it."]}) from None
    except ValueError:
        return []
    found = dict[str, None]()
    for name in _named(sent):
        branch = name.removeprefix(_HEADS)
        if 0 < len(branch) <= MAX_BRANCH:
            found[branch] = None
            if len(found) > MAX_CALL_BRANCHES:
                said = f"Names more than {MAX_CALL_BRANCHES:,} branches, which are too many to look up: send fewer."
                raise InvalidInput({"body": [said]})
    return list(found)


def _named(sent: object) -> Iterator[str]:
    """Under a name of a branch, as what begins like one, or as an object that says it is one, such as Bitbucket's."""
    left: list[tuple[bool, object]] = [(False, sent)]
    while left:
        is_branch, value = left.pop()
        if isinstance(value, str):
            if is_branch or value.startswith(_HEADS):
                yield value
        elif isinstance(value, list):
            left.extend((is_branch, each) for each in value)
        elif isinstance(value, dict):
            name = value.get("name")
            if isinstance(name, str) and (is_branch or value.get("type") == "branch"):
                yield name
            left.extend((_is_name(key), each) for key, each in value.items())


def _is_name(key: str) -> bool:
    return key.replace("_", "").replace("-", "").casefold() in _NAMES
