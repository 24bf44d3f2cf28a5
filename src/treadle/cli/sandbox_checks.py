"""What `treadle doctor` says of the walls around an engine, and of what it may use."""

from typing import Final

from treadle import sandbox
from treadle.cli.findings import Check, Level, Remark, summed_up
from treadle.domain.errors import ConfigurationError
from treadle.sandbox.bubblewrap import BubblewrapSandbox, Walls
from treadle.sandbox.container import ContainerSandbox
from treadle.settings import Settings

_LIMITS_HINT: Final = (
    "Limits of each process and watching hold all the same, but later. A control group holds at once: run the service "
    "by systemd with Delegate=yes, or as root."
)
_FILTER_HINT: Final = "The filter of system calls knows x86-64 and 64-bit ARM."
_NAMESPACES_HINT: Final = (
    "The filter of system calls refuses them. A second wall is bubblewrap 0.8 or newer and a /proc/sys that can be "
    "written to."
)


async def walls(settings: Settings) -> Check:
    """Which sandbox engines would get, and which of its walls there are here."""
    name = "sandbox"
    try:
        chosen = await sandbox.choose(settings)
    except ConfigurationError as error:
        return Check(name, Level.PROBLEM, error.message, error.hint)
    if chosen.name == sandbox.NONE:
        best, why = await sandbox.choose_or_none(settings.model_copy(update={"sandbox": None}))
        hint = f"{best.name} works here: unset TREADLE_SANDBOX." if why is None else why.hint
        return Check(name, Level.WARNING, "none, as set: engines see and change all that this user can", hint)
    if not isinstance(chosen, BubblewrapSandbox):
        return Check(name, Level.OK, f"{chosen.name} works, with no network but its doors")
    return summed_up(name, [Remark("bubblewrap works, with no network but its doors"), *_remarks(chosen.walls())])


def _remarks(found: Walls) -> list[Remark]:
    if found.has_filter:
        remarks = [Remark("a filter of system calls")]
    else:
        remarks = [Remark("no filter of system calls", Level.WARNING, _FILTER_HINT)]
    if not found.forbids_user_namespaces:
        level = Level.OK if found.has_filter else Level.WARNING
        remarks.append(Remark("user namespaces within are left to the filter", level, _NAMESPACES_HINT))
    return remarks


async def limits(settings: Settings) -> Check:
    """What holds the limits of an engine's call."""
    name = "limits"
    try:
        chosen = await sandbox.choose(settings)
    except ConfigurationError:
        return Check(name, Level.WARNING, "nothing is limited without a sandbox")
    if chosen.name == sandbox.NONE:
        return Check(name, Level.WARNING, "nothing is limited without a sandbox", "Unset TREADLE_SANDBOX.")
    if isinstance(chosen, ContainerSandbox) and not chosen.has_cgroups:
        return Check(
            name, Level.WARNING, "no control groups for containers: limits of each process, and watching", _LIMITS_HINT
        )
    if not isinstance(chosen, BubblewrapSandbox):
        return Check(name, Level.OK, "held by the container's runtime, the disk by watching")
    version = chosen.walls().cgroup_version
    if version is not None and chosen.walls().is_counted:
        return Check(name, Level.OK, f"held by control groups (version {version}), the disk by watching")
    held = "there can be no control group" if version is None else f"version {version}'s control groups hold a part"
    return Check(name, Level.WARNING, f"{held}: limits of each process, and watching", _LIMITS_HINT)
