"""What a run may be asked for, whoever reads it: limits (counted in characters) and what is said past them. Pure; each
function gives a sentence, or None when nothing is wrong."""

MAX_STEPS = 20
MAX_FILES = 100
MAX_URL = 10_000
MAX_BRANCH = 500
MAX_GUIDELINES = 10_000
MAX_SSH_KEY = 10_000
MAX_HTTP_CREDENTIALS = 500
MAX_TOKEN = 10_000

#: Of a run's budget, and of an organization's month, in US dollars.
MAX_COST_USD = 1_000_000
COST_DECIMALS = 4

REQUIRED = "Is required."
EMPTY = "Must not be empty."
TOO_LONG = "Must be at most {max_length:,} characters."


def text_fault(value: str) -> str | None:
    """Of any text that is kept."""
    if "\0" in value:
        return "Must not hold a null character."
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "Must not hold half of a surrogate pair."
    return None


def blank_fault(value: str) -> str | None:
    return None if value.strip() else "Must not be blank."


def one_line_fault(value: str) -> str | None:
    if any(character < " " or character == "\x7f" for character in value):
        return "Must not hold control characters."
    return None


def token_fault(value: str) -> str | None:
    """Of keys and scopes."""
    if not all("!" <= character <= "~" for character in value):
        return "Must hold only printable ASCII characters and no space."
    return None


def length_fault(value: str, most: int) -> str | None:
    if not value:
        return EMPTY
    return TOO_LONG.format(max_length=most) if len(value) > most else None


def steps_fault(count: int) -> str | None:
    return None if 1 <= count <= MAX_STEPS else f"Must have 1 to {MAX_STEPS} entries, not {count:,}."


def files_fault(count: int) -> str | None:
    return None if count <= MAX_FILES else f"Must have at most {MAX_FILES} entries, not {count:,}."


def cost_fault(amount: float, least: float = 1 / 10**COST_DECIMALS) -> str | None:
    """Of a budget."""
    if least <= amount <= MAX_COST_USD and round(amount, COST_DECIMALS) == amount:  # neither holds of a NaN
        return None
    return f"Must be from {least:g} to {MAX_COST_USD:,} US dollars, with at most {COST_DECIMALS} decimals."
