"""The forms of triggers: what each kind of them asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import FormData

from treadle.domain.errors import Conflict, InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.trigger_settings import ANYONE, MEMBERS, TriggerSettings
from treadle.domain.triggers import HookKind, Trigger, TriggerKind
from treadle.web.forms import Form, is_checked, lines_of, refused, text_of
from treadle.web.pages.automation.plan_fields import plan_text, said_of_plan

#: Of the menu: nobody but those who are named.
NAMED: Final = "named"

WHO: Final = (
    (MEMBERS, "Those whom the forge lets push"),
    (ANYONE, "Anybody"),
    (NAMED, "Only these accounts"),
)


@dataclass(frozen=True, slots=True)
class KindShown:
    """`wakes`: in a sentence; `fields`: what its form asks for beside name, repository and plan."""

    kind: TriggerKind
    name: str
    wakes: str
    fields: frozenset[str] = frozenset()
    takes_plan: bool = True


KINDS: Final[Mapping[TriggerKind, KindShown]] = {
    shown.kind: shown
    for shown in (
        KindShown(
            TriggerKind.CHECK,
            "Failed check",
            "A check fails on a branch that a run made: the run goes on with the failing log.",
            takes_plan=False,
        ),
        KindShown(
            TriggerKind.ISSUE,
            "Issue",
            "An issue gets a label or an assignee: a run starts, and answers there.",
            frozenset({"labels", "assignees", "who", "pull_request"}),
        ),
        KindShown(
            TriggerKind.COMMENT,
            "Comment",
            "A comment mentions the agent: a run starts or goes on, and answers there.",
            frozenset({"mention", "who", "pull_request"}),
        ),
        KindShown(
            TriggerKind.REVIEW,
            "Review",
            "A review is asked of the agent: a run reads the pull request, and its findings become comments.",
            frozenset({"reviewers", "who"}),
        ),
        KindShown(TriggerKind.URL, "Trigger URL", "CI, a tracker or a script calls an address: a run starts."),
    )
}

#: Where each sender wants address and secret.
WHERE: Final[Mapping[HookKind, str]] = {
    HookKind.GITHUB: "At GitHub: Settings, Webhooks, Add webhook; content type application/json.",
    HookKind.GITLAB: "At GitLab: Settings, Webhooks, Add new webhook; the secret is its secret token.",
    HookKind.GITEA: "At Gitea or Forgejo: Settings, Webhooks, Add webhook; POST, application/json.",
    HookKind.URL: "Send POST with JSON, and the secret as Authorization: Bearer.",
}

#: What is to be chosen there, by the forge's own names.
EVENTS: Final[Mapping[HookKind, Mapping[TriggerKind, str]]] = {
    HookKind.GITHUB: {
        TriggerKind.CHECK: "Check runs, Statuses",
        TriggerKind.ISSUE: "Issues",
        TriggerKind.COMMENT: "Issue comments, Pull request reviews, Pull request review comments",
        TriggerKind.REVIEW: "Pull requests",
    },
    HookKind.GITLAB: {
        TriggerKind.CHECK: "Job events, Pipeline events",
        TriggerKind.ISSUE: "Issues events",
        TriggerKind.COMMENT: "Comments",
        TriggerKind.REVIEW: "Merge request events",
    },
    HookKind.GITEA: {
        TriggerKind.CHECK: "Workflow jobs, Statuses; at Forgejo: action runs",
        TriggerKind.ISSUE: "Issues, labelled, assigned",
        TriggerKind.COMMENT: "Issue and pull request comments, reviews",
        TriggerKind.REVIEW: "Pull request review requests",
    },
    HookKind.URL: {},
}

#: The form's fields in their order, each with what the service calls it.
FIELDS: Final[Mapping[str, str]] = {
    "name": "name",
    "repository": "repositoryId",
    "labels": "settings.labels",
    "assignees": "settings.assignees",
    "reviewers": "settings.reviewers",
    "mention": "settings.mention",
    "who": "who",
    "people": "settings.from",
    "plan": "plan",
}


def blank(kind: TriggerKind, repository: str = "") -> Form:
    usual = TriggerSettings()
    return Form("trigger", {"name": "", "repository": repository, **_settings_values(usual), "kind": kind})


def as_it_is(trigger: Trigger) -> Form:
    values = {
        "name": trigger.name,
        **_settings_values(trigger.settings),
        "plan": "" if trigger.plan is None else plan_text(trigger.plan.to_json()),
    }
    return Form("trigger", values)


def settings_of(form: FormData, kind: TriggerKind) -> JsonObject:
    """What the form of such a trigger asks for."""
    asked, found = KINDS[kind].fields, dict[str, JsonValue]()
    for name in sorted({"labels", "assignees", "reviewers"} & asked):
        found[name] = _lines(form, name)
    if "mention" in asked:
        found["mention"] = text_of(form, "mention")
    if "who" in asked:
        found["from"] = _who(form)
        found["heedsTokenOwner"] = is_checked(form, "token_owner")
    if "pull_request" in asked:
        found["pullRequest"] = is_checked(form, "pull_request")
    return found


def wakes(trigger: Trigger) -> str:
    """In a few words, for the list."""
    settings = trigger.settings
    match trigger.kind:
        case TriggerKind.CHECK:
            return "a check fails on a branch that a run made"
        case TriggerKind.ISSUE:
            named = [
                *(f"label {each}" for each in settings.labels),
                *(f"assigned to {each}" for each in settings.assignees),
            ]
            return f"an issue: {', '.join([*named, 'assigned to the account of the token'])}"
        case TriggerKind.COMMENT:
            return f"a comment mentions {settings.mention}"
        case TriggerKind.REVIEW:
            return f"a review is asked of {', '.join([*settings.reviewers, 'the account of the token'])}"
        case TriggerKind.URL:
            return "its address is called"


def with_faults(form: Form, error: InvalidInput | Conflict) -> Form:
    """Those of the plan are all beside the one field that it is."""
    if isinstance(error, Conflict):
        return refused(form, error)
    of_plan = {path.removeprefix("plan."): said for path, said in error.faults.items() if path.startswith("plan")}
    others = {path: list(said) for path, said in error.faults.items() if not path.startswith("plan")}
    found = others | ({"plan": said_of_plan(of_plan)} if of_plan else {})
    return refused(form, InvalidInput(found, error.message), FIELDS)


def _settings_values(settings: TriggerSettings) -> Mapping[str, str]:
    fixed = next((each for each in (ANYONE, MEMBERS) if each in settings.allowed), NAMED)
    return {
        "labels": "\n".join(settings.labels),
        "assignees": "\n".join(settings.assignees),
        "reviewers": "\n".join(settings.reviewers),
        "mention": settings.mention,
        "who": fixed,
        "people": "\n".join(each for each in settings.allowed if each not in {ANYONE, MEMBERS}),
        "token_owner": "1" if settings.heeds_token_owner else "",
        "pull_request": "1" if settings.opens_pull_request else "",
    }


def _lines(form: FormData, name: str) -> list[JsonValue]:
    return [line.strip() for line in lines_of(form, name).splitlines() if line.strip()]


def _who(form: FormData) -> list[JsonValue]:
    """Raises InvalidInput."""
    who, people = text_of(form, "who"), _lines(form, "people")
    if who not in {value for value, _ in WHO}:
        raise InvalidInput({"who": ["Is none of these."]})
    if who == NAMED and not people:
        raise InvalidInput({"settings.from": ["Name somebody: nobody could wake it."]})
    return people if who == NAMED else [who, *people]


def kinds() -> Sequence[KindShown]:
    return tuple(KINDS.values())
