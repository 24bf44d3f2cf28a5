"""Forms as they were filled in: what was written stays, and what is wrong stands beside its field."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.datastructures import FormData

from treadle.domain.errors import InvalidInput, TreadleError
from treadle.domain.money import dollars

#: Of a number that surely fits a BIGINT.
_DIGITS = 18

#: US dollars, as people write them.
_AMOUNT = re.compile(r"\$?\s*([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class Form:
    """`id` tells forms of one page apart; `said` is about the whole, `faults` by the field's name."""

    id: str
    values: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    said: str | None = None

    def value(self, name: str) -> str:
        return self.values.get(name, "")

    def errors(self, name: str) -> Sequence[str]:
        return self.faults.get(name, ())

    @property
    def first(self) -> str | None:
        """The field to begin with: the first that is wrong."""
        return next(iter(self.faults), None)


def filled(form_id: str, form: FormData, *, secret: Collection[str] = ()) -> Form:
    """The texts of a form; those of `secret` fields are never shown again."""
    texts = {name: value for name, value in form.items() if isinstance(value, str) and name not in {*secret, "csrf"}}
    return Form(form_id, texts)


def refused(form: Form, error: TreadleError, names: Mapping[str, str] | None = None) -> Form:
    """The form with what an error says of it. `names`: the fields of the form, in their order, each with what the
    service calls it. A fault of no field is said above the form."""
    if not isinstance(error, InvalidInput):
        return Form(form.id, form.values, {}, error.sentence())
    known = dict(names or {name: name for name in error.faults})
    found = {ours: error.faults[theirs] for ours, theirs in known.items() if theirs in error.faults}
    others = [f"{path}: {' '.join(said)}" for path, said in error.faults.items() if path not in known.values()]
    return Form(form.id, form.values, found, " ".join([error.message, *others]))


def text_of(form: FormData, name: str) -> str:
    """One field's text, without the spaces around it; "" where there is none, or a file."""
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def number_of(text: str) -> int | None:
    """An id; None for what is none that a database could hold."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def amount_of(text: str) -> float | None:
    """US dollars; None where nothing is written. Raises ValueError with a sentence."""
    if not text:
        return None
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise ValueError("Must be an amount in US dollars, such as 0.50.")
    return float(found[1])


def amount_text(amount: float | None) -> str:
    """What `amount_of` reads."""
    return "" if amount is None else dollars(amount).removeprefix("$").replace(",", "")


def is_checked(form: FormData, name: str) -> bool:
    return bool(text_of(form, name))


def lines_of(form: FormData, name: str) -> str:
    """A text area's text: browsers end its lines with CR and LF, which no shell and no prompt wants."""
    value = form.get(name)
    return value.replace("\r\n", "\n").replace("\r", "\n") if isinstance(value, str) else ""
