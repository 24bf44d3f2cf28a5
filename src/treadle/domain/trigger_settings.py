"""What is set for a trigger. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject

#: Labels, assignees, people or reviewers of a trigger.
MAX_TRIGGER_NAMES = 100

#: Of such a name, and of what mentions the agent, in characters.
MAX_TRIGGER_NAME = 255

#: Who may wake runs: those whom the forge lets push, anybody, or those named.
MEMBERS: Final = "members"
ANYONE: Final = "anyone"

_LISTS: Final = ("labels", "assignees", "reviewers")


@dataclass(frozen=True, slots=True)
class TriggerSettings:
    """`allowed`: logins, beside `members` or `anyone`."""

    labels: tuple[str, ...] = ("treadle",)
    assignees: tuple[str, ...] = ()  # beside the account whose token the repository has
    reviewers: tuple[str, ...] = ()  # the same
    mention: str = "@treadle"
    allowed: tuple[str, ...] = (MEMBERS,)
    heeds_token_owner: bool = False  # what the account of the repository's token says itself
    opens_pull_request: bool = True

    def json(self) -> JsonObject:
        """What `read` takes."""
        return {
            "labels": list(self.labels),
            "assignees": list(self.assignees),
            "reviewers": list(self.reviewers),
            "mention": self.mention,
            "from": list(self.allowed),
            "heedsTokenOwner": self.heeds_token_owner,
            "pullRequest": self.opens_pull_request,
        }

    @classmethod
    def read(cls, value: object) -> "TriggerSettings":
        """What is left out is as it is by itself. Raises InvalidInput naming every fault."""
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            raise InvalidInput({"settings": ["Must be an object."]})
        faults = dict[str, list[str]]()
        known = cls().json()
        for name in [str(name) for name in value if name not in known][:MAX_TRIGGER_NAMES]:
            faults[f"settings.{ascii(name)[1:-1][:100]}"] = [f"Is not a setting; there are {', '.join(known)}."]
        lists = {name: _names(name, value.get(name, known[name]), faults) for name in _LISTS}
        made = cls(
            labels=lists["labels"],
            assignees=lists["assignees"],
            reviewers=lists["reviewers"],
            mention=_mention(value.get("mention", known["mention"]), faults),
            allowed=_names("from", value.get("from", known["from"]), faults),
            heeds_token_owner=_flag("heedsTokenOwner", value.get("heedsTokenOwner", False), faults),
            opens_pull_request=_flag("pullRequest", value.get("pullRequest", True), faults),
        )
        if faults:
            raise InvalidInput(faults)
        return made


def _names(name: str, value: object, faults: dict[str, list[str]]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        faults[f"settings.{name}"] = ["Must be a list of texts."]
        return ()
    if len(value) > MAX_TRIGGER_NAMES or any(not 0 < len(each) <= MAX_TRIGGER_NAME for each in value):
        faults[f"settings.{name}"] = [
            f"Must be at most {MAX_TRIGGER_NAMES} texts of 1 to {MAX_TRIGGER_NAME} characters each."
        ]
        return ()
    return tuple(dict.fromkeys(value))


def _mention(value: object, faults: dict[str, list[str]]) -> str:
    if not isinstance(value, str) or not 1 < len(value) <= MAX_TRIGGER_NAME or value.split() != [value]:
        faults["settings.mention"] = [f"Must be one word of 2 to {MAX_TRIGGER_NAME} characters, such as @treadle."]
        return ""
    return value


def _flag(name: str, value: object, faults: dict[str, list[str]]) -> bool:
    if not isinstance(value, bool):
        faults[f"settings.{name}"] = ["Must be true or false."]
        return False
    return value
