"""What events of budgets, networks, limits and found secrets are called in a trace, in plain words."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from treadle.domain.events import EventType, JsonObject, JsonValue
from treadle.domain.money import dollars
from treadle.web.network import policy_in, words
from treadle.web.said import Said, number_of, text_of
from treadle.web.text import count, duration


def _answered(data: JsonObject) -> Said:
    """Quiet: there is one for every request, and what it answered stands beside it."""
    tokens_in = sum(number_of(data, name) for name in ("inputTokens", "cacheReadTokens", "cacheWriteTokens"))
    tokens = f"{count(int(tokens_in))} in, {count(int(number_of(data, 'outputTokens')))} out"
    took = duration(number_of(data, "durationMs") / 1000)
    detail = ", ".join(part for part in (text_of(data, "model"), tokens, _cost(data, "costUsd"), took) if part)
    status = int(number_of(data, "status"))
    if status >= HTTPStatus.BAD_REQUEST:
        return Said(f"The model API answered {status}", detail, tone="warn")
    if data.get("isEstimated") is True:
        detail += "; estimated, as it broke off"
    return Said("The model answered", detail, tone="quiet")


def _passed(data: JsonObject) -> Said:
    whose = "The organization's budget of the month" if data.get("of") == "organization" else "The run's budget"
    spent = f"{_cost(data, 'spentUsd')} of {_cost(data, 'limitUsd')}"
    return Said(f"{whose} is used up", spent, tone="bad")


def _policy(data: JsonObject) -> Said:
    policy = policy_in(data)
    reach = words(policy) if policy is not None else ""
    if data.get("isEnforced") is False:
        return Said("The network policy is not enforced, as there is no sandbox; it would be:", reach, tone="warn")
    return Said("May connect to", reach)


def _connected(data: JsonObject) -> Said:
    address = text_of(data, "address")
    return Said("Connected to", f"{_place(data)}{f' at {address}' if address else ''}", tone="quiet")


def _refused(data: JsonObject) -> Said:
    return Said("A connection was refused", f"{_place(data)}: {text_of(data, 'reason')}", tone="warn")


def _limit(data: JsonObject) -> Said:
    return Said("A limit of the sandbox was hit", body=text_of(data, "text"), tone="bad")


def _secrets(data: JsonObject) -> Said:
    findings = data.get("findings")
    named = [_finding(each) for each in findings if isinstance(each, Mapping)] if isinstance(findings, list) else []
    more = int(number_of(data, "count")) - len(named)
    body = "\n".join([*named, f"and {more:,} more"] if more > 0 else named)
    if data.get("isAllowed") is True:
        return Said("Committed all the same, as the repository allows: this looks like secrets", body=body, tone="warn")
    return Said("Nothing was committed: this looks like secrets", body=body, tone="bad")


def _finding(found: Mapping[str, JsonValue]) -> str:
    line = int(number_of(found, "line"))
    return f"{text_of(found, 'path')}{f':{line}' if line else ''}  {text_of(found, 'kind')}"


def _place(data: JsonObject) -> str:
    return f"{text_of(data, 'host')}:{int(number_of(data, 'port'))}"


def _cost(data: JsonObject, name: str) -> str:
    return dollars(number_of(data, name))


TRUST_WORDS: Mapping[EventType, Callable[[JsonObject], Said]] = {
    EventType.MODEL_ANSWERED: _answered,
    EventType.BUDGET_PASSED: _passed,
    EventType.NETWORK_POLICY: _policy,
    EventType.NETWORK_CONNECTED: _connected,
    EventType.NETWORK_REFUSED: _refused,
    EventType.SANDBOX_LIMIT: _limit,
    EventType.GIT_SECRETS_FOUND: _secrets,
}
