"""What `treadle doctor` says: every check, whatever the others found."""

import asyncio
import os
from collections.abc import Sequence

from treadle.cli import output
from treadle.cli.checks import check_settings, checks_of
from treadle.cli.failures import Stopped
from treadle.cli.findings import Check, Level
from treadle.cli.output import FAILED
from treadle.cli.text import one_line, pad

_NAME_COLUMNS = 12
_LEVEL_COLUMNS = 8


def check_up(*, is_json: bool) -> None:
    """Raises Stopped when there is a problem."""
    found = asyncio.run(_all())
    problems = sum(check.level is Level.PROBLEM for check in found)
    if is_json:
        output.as_json({"ok": not problems, "checks": [_as_json(check) for check in found]})
    else:
        _print(found, problems)
    if problems:
        raise Stopped(FAILED)


async def _all() -> list[Check]:
    check, settings = check_settings(os.environ)
    if settings is None:
        return [check]
    return [check, *await asyncio.gather(*checks_of(settings, os.environ))]


def _print(found: Sequence[Check], problems: int) -> None:
    for check in found:
        output.line(f"{pad(check.level, _LEVEL_COLUMNS)}  {pad(check.name, _NAME_COLUMNS)}  {one_line(check.found)}")
        if check.hint and check.level is not Level.OK:
            output.line(" " * (_LEVEL_COLUMNS + _NAME_COLUMNS + 4) + one_line(check.hint))
    warnings = sum(check.level is Level.WARNING for check in found)
    output.line()
    output.line(f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}")


def _as_json(check: Check) -> dict[str, str | None]:
    return {"name": check.name, "level": check.level, "found": check.found, "hint": check.hint}
