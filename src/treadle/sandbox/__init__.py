"""Where engines run. A new sandbox is one file and one line here."""

from collections.abc import Callable, Mapping
from typing import Protocol

from treadle.domain.errors import ConfigurationError
from treadle.ports import Sandbox
from treadle.sandbox.bubblewrap import BubblewrapSandbox
from treadle.sandbox.container import ContainerSandbox
from treadle.sandbox.limits import limits_of
from treadle.sandbox.none import NoSandbox
from treadle.settings import Settings

#: The one without walls: never chosen, only named.
NONE = "none"


class CheckedSandbox(Sandbox, Protocol):
    async def check(self) -> None:
        """Tries it out, within seconds. Raises ConfigurationError where it does not work."""


def _bubblewrap(settings: Settings) -> BubblewrapSandbox:
    hidden = (settings.data_dir, settings.secret_key_file or settings.data_dir)
    return BubblewrapSandbox(hidden, limits_of(settings))


def _container(settings: Settings) -> ContainerSandbox:
    return ContainerSandbox(
        settings.sandbox_image,
        settings.sandbox_runtime,
        {"PATH": settings.engine_path, **settings.sandbox_environment},
        limits=limits_of(settings),
        hidden=(settings.data_dir, settings.secret_key_file or settings.data_dir),
        grace_seconds=settings.kill_grace_seconds,
    )


#: By name, the best first.
SANDBOXES: Mapping[str, Callable[[Settings], CheckedSandbox]] = {
    "bubblewrap": _bubblewrap,
    "container": _container,
    NONE: lambda settings: NoSandbox(settings.kill_grace_seconds),
}


async def choose(settings: Settings) -> CheckedSandbox:
    """The sandbox that `settings.sandbox` names, or the best with walls that works here. Raises ConfigurationError when
    it, or every one, does not: its hint says what to do."""
    faults: list[ConfigurationError] = []
    for name in _candidates(settings):
        sandbox = SANDBOXES[name](settings)
        try:
            await sandbox.check()
        except ConfigurationError as error:
            faults.append(error)
        else:
            return sandbox
    message = " ".join(fault.message for fault in faults)
    raise ConfigurationError(message, hint=" ".join(fault.hint for fault in faults if fault.hint))


async def choose_or_none(settings: Settings) -> tuple[CheckedSandbox, ConfigurationError | None]:
    """For somebody's own repositories on their own machine: where nothing with walls works, and none is named, the one
    without walls, and why. Raises ConfigurationError when the named one does not work."""
    try:
        return await choose(settings), None
    except ConfigurationError as error:
        if settings.sandbox is not None:
            raise
        sandbox = SANDBOXES[NONE](settings)
        await sandbox.check()
        return sandbox, error


def _candidates(settings: Settings) -> list[str]:
    if settings.sandbox is not None:
        return [settings.sandbox]
    return [name for name in SANDBOXES if name != NONE and (name != "container" or settings.sandbox_image is not None)]
