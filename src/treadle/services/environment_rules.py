"""What the variables of a repository's environment may be called, and how large they are."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from treadle.redaction import MIN_LENGTH

#: Variables of a repository.
MAX_VARIABLES = 100
#: Of one value, in UTF-8.
MAX_VALUE_BYTES = 32 * 1024
#: Names and values of a repository's variables together: Linux gives a command no more than it has room for.
MAX_ENVIRONMENT_BYTES = 128 * 1024

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NAME_FAULT: Final = "Must be 1 to 128 letters, digits and '_', and begin with no digit."

#: What decides which programs run and how, or speaks for the service; in any case, as some programs read both.
_RESERVED: Final = frozenset(
    {
        *(
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "SHELL",
            "TERM",
            "PWD",
            "OLDPWD",
            "LANG",
            "LANGUAGE",
            "TMPDIR",
            "HOSTNAME",
        ),
        *("IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "CDPATH", "GLOBIGNORE", "PROMPT_COMMAND", "SHLVL", "PS4"),
        *("NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "BUN_OPTIONS"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONEXECUTABLE", "PYTHONINSPECT"),
        *(
            "GCONV_PATH",
            "LOCPATH",
            "NLSPATH",
            "HOSTALIASES",
            "RES_OPTIONS",
            "GLIBC_TUNABLES",
            "IS_SANDBOX",
            "CLAUDECODE",
        ),
        *("DISABLE_AUTOUPDATER", "DISABLE_ERROR_REPORTING", "DISABLE_TELEMETRY"),
    }
)
_RESERVED_BEGINNINGS: Final = (
    *("LC_", "LD_", "DYLD_", "XDG_", "BASH_FUNC_", "GIT_", "SSH_"),
    *("TREADLE_", "ANTHROPIC_", "CLAUDE_", "KIMI_", "MOONSHOT_"),
)
_RESERVED_END: Final = "_PROXY"

#: Of a name that is of no form and yet repeated.
_SHOWN: Final = 130


def is_reserved(name: str) -> bool:
    """Whether it belongs to the system, to Git, or to the engines and their way out."""
    folded = name.upper()
    return folded in _RESERVED or folded.startswith(_RESERVED_BEGINNINGS) or folded.endswith(_RESERVED_END)


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def name_faults(name: str) -> Sequence[str]:
    if not is_name(name):
        return [_NAME_FAULT]
    if is_reserved(name):
        return ["Is reserved: it decides how programs run, or belongs to Treadle, Git or an engine."]
    return []


def value_faults(value: str) -> Sequence[str]:
    """They never repeat the value."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return ["Holds half a character: it is no Unicode text."]
    faults = ["Holds a NUL, which no variable can."] if "\0" in value else []
    if size > MAX_VALUE_BYTES:
        faults.append(f"Must be at most {MAX_VALUE_BYTES:,} bytes.")
    if len(value.strip()) < MIN_LENGTH:
        faults.append(
            f"Must be at least {MIN_LENGTH} characters without the space around them: a shorter one cannot be taken "
            "out of what runs say. What is no secret can be set by the setup commands."
        )
    return faults


def variable_faults(values: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """Every fault, by `values.NAME`; none: they may be set, if there is room."""
    if not values:
        return {"values": ["Names no variable."]}
    if len(values) > MAX_VARIABLES:
        return {"values": [f"A repository has at most {MAX_VARIABLES} variables."]}
    found = {name: [*name_faults(name), *value_faults(value)] for name, value in values.items()}
    return {f"values.{name[:_SHOWN]}": faults for name, faults in found.items() if faults}


def room_faults(sizes: Mapping[str, int]) -> dict[str, Sequence[str]]:
    """`sizes`: bytes of every value that there would be."""
    faults = []
    if len(sizes) > MAX_VARIABLES:
        faults.append(f"A repository has at most {MAX_VARIABLES} variables; these would be {len(sizes):,}.")
    total = sum(len(name) + size + 2 for name, size in sizes.items())  # as execve counts them
    if total > MAX_ENVIRONMENT_BYTES:
        faults.append(f"Names and values take at most {MAX_ENVIRONMENT_BYTES:,} bytes; these would take {total:,}.")
    return {"values": faults} if faults else {}
