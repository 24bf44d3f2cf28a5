"""The form of what becomes of failed checks: a row for each check that is known, and an empty one."""

from collections.abc import Mapping, Sequence

from starlette.datastructures import FormData

from treadle.domain.errors import InvalidInput
from treadle.domain.repository import CheckSuiteSettings, Repository
from treadle.services.check_suites import CheckSuiteChange
from treadle.web.forms import Form, is_checked, lines_of, number_of, text_of

#: Checks that have a row; more are set by the API.
MAX_ROWS = 100

#: The form's fields, each with what the service calls it.
FIELDS: Mapping[str, str] = {
    "retry_count": "check_retry_count",
    "apps": "high_priority_apps",
    "ignored": "ignored_checks",
    "counts": "check_retry_counts",
    "prompts": "custom_prompts",
}


def as_they_are(repository: Repository) -> Form:
    settings = repository.check_suite_settings
    values = {
        "retry_count": str(settings.retry_count),
        "apps": "\n".join(settings.high_priority_apps),
        "rows": str(len(_names(repository)) + 1),
    }
    for row, name in enumerate((*_names(repository), "")):
        values |= {
            f"name-{row}": name,
            f"ignored-{row}": "1" if name in settings.ignored_checks else "",
            f"count-{row}": str(settings.retry_counts.get(name, "")),
            f"prompt-{row}": settings.custom_prompts.get(name, ""),
        }
    return Form("checks", values)


def _names(repository: Repository) -> Sequence[str]:
    settings = repository.check_suite_settings
    of_settings = (*settings.ignored_checks, *settings.retry_counts, *settings.custom_prompts)
    return sorted({*repository.check_names, *of_settings})[:MAX_ROWS]


def change_of(form: FormData, settings: CheckSuiteSettings) -> CheckSuiteChange:
    """What the form says; what is set for checks that have no row stays. Raises InvalidInput."""
    ignored = dict.fromkeys(settings.ignored_checks)
    counts, prompts = dict(settings.retry_counts), dict(settings.custom_prompts)
    for row in range(min(number_of(text_of(form, "rows")) or 0, MAX_ROWS + 1)):
        name, count, prompt = (text_of(form, f"{field}-{row}") for field in ("name", "count", "prompt"))
        if not name:
            continue
        for known in (ignored, counts, prompts):
            known.pop(name, None)
        if is_checked(form, f"ignored-{row}"):
            ignored[name] = None
        if count:
            counts[name] = _number(count, "check_retry_counts")
        if prompt:
            prompts[name] = lines_of(form, f"prompt-{row}").strip()
    return CheckSuiteChange(
        retry_count=_number(text_of(form, "retry_count"), "check_retry_count"),
        ignored_checks=list(ignored),
        retry_counts=counts,
        custom_prompts=prompts,
        high_priority_apps=[line.strip() for line in lines_of(form, "apps").splitlines() if line.strip()],
    )


def _number(text: str, field: str) -> int:
    found = number_of(text)
    if found is None:
        raise InvalidInput({field: ["Must be a whole number."]}, "Nothing was changed.")
    return found
