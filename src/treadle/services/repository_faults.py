"""What is wrong with what somebody wants to register, by field."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from treadle.domain.credentials import GitCredentials
from treadle.domain.git_url import check_branch, check_url, split_credentials
from treadle.services.credentials import check_ssh_key
from treadle.services.organizations import rules_fault
from treadle.services.repository_change import MAX_DESCRIPTION, MAX_LANGUAGE, VISIBILITIES, RepositoryChange

MAX_NAME = 200
MAX_URL = 10_000
MAX_FORGE_TOKEN = 10_000
MAX_SETUP_BYTES = 64 * 1024

_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)+")


def repository_faults(name: str, change: RepositoryChange, *, has_forge: bool) -> Mapping[str, list[str]]:
    """Every fault, by the field's name. `has_forge`: whether there is one after the change."""
    git = change.git or GitCredentials()
    found: dict[str, str | None] = {"name": _name_fault(name)}
    if change.url is not None:
        is_short = len(change.url) <= MAX_URL
        found["url"] = check_url(change.url, allow_local=True) if is_short else _longest(MAX_URL)
    if change.default_branch is not None:
        found["default_branch"] = check_branch(change.default_branch)
    in_url = split_credentials(change.url)[1] if change.url is not None else None
    if sum(secret is not None for secret in (git.http, git.ssh_key, in_url)) > 1:
        found["credentials"] = "Give one: HTTP credentials, those in the address, or an SSH key."
    if git.ssh_key is not None:
        found["ssh_key"] = _raised(lambda: check_ssh_key(git.ssh_key or ""))
    if change.forge is not None:
        found["forge_api_url"] = _api_url_fault(change.forge.api_url)
    if change.forge_token:
        found["forge_token"] = _token_fault(change.forge_token, has_forge=has_forge)
    found |= {
        "description": _text_fault(change.description, MAX_DESCRIPTION),
        "language": _text_fault(change.language, MAX_LANGUAGE),
        "rules": rules_fault(change.rules),
    }
    if change.visibility and change.visibility not in VISIBILITIES:
        found["visibility"] = f"Must be one of {', '.join(VISIBILITIES)}."
    return {name: [fault] for name, fault in found.items() if fault}


def setup_fault(commands: str) -> str | None:
    """What is wrong with setup commands, as a sentence."""
    if len(commands.encode(errors="surrogatepass")) > MAX_SETUP_BYTES:
        return f"Must be at most {MAX_SETUP_BYTES:,} bytes."
    return "Must hold no NUL character." if "\0" in commands else None


def _name_fault(name: str) -> str | None:
    if _NAME.fullmatch(name) and len(name) <= MAX_NAME:
        return None
    return f"Must be OWNER/NAME, of letters, digits, '.', '_' and '-', at most {MAX_NAME} characters."


def _api_url_fault(url: str) -> str | None:
    if len(url) > MAX_URL:
        return _longest(MAX_URL)
    try:
        parts = urlsplit(url)
        is_address = url.isprintable() and " " not in url and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.scheme not in {"https", "http"}:
        return "Must be an http or https URL, such as https://gitlab.example/api/v4."
    if parts.username is not None or parts.query or parts.fragment:
        return "Must hold no credentials, no '?' and no '#'."
    return None


def _token_fault(token: str, *, has_forge: bool) -> str | None:
    if len(token) > MAX_FORGE_TOKEN or not token.isprintable() or " " in token:
        return f"Must be at most {MAX_FORGE_TOKEN:,} printable characters without a space."
    return None if has_forge else "There is no forge to use it at: the host is not a known one, so name its kind."


def _text_fault(text: str | None, most: int) -> str | None:
    return _longest(most) if text is not None and len(text) > most else None


def _longest(most: int) -> str:
    return f"Must be at most {most:,} characters."


def _raised(check: Callable[[], object]) -> str | None:
    try:
        check()
    except ValueError as error:
        return str(error)
    return None
