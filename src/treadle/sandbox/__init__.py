"""Where engines run. A new sandbox is one file and one line here."""

from collections.abc import Callable, Mapping
from typing import Protocol

from treadle.domain.errors import ConfigurationError
from treadle.ports import Sandbox
from treadle.sandbox.bubblewrap import BubblewrapSandbox
from treadle.sandbox.none import NoSandbox
from treadle.settings import Settings


class CheckedSandbox(Sandbox, Protocol):
    async def check(self) -> None:
        """Tries it out, within seconds. Raises ConfigurationError where it does not work."""


#: By name, the best first.
SANDBOXES: Mapping[str, Callable[[Settings], CheckedSandbox]] = {
    "bubblewrap": lambda settings: BubblewrapSandbox(
        (settings.data_dir, settings.secret_key_file or settings.data_dir)
    ),
    "none": lambda settings: NoSandbox(settings.kill_grace_seconds),
}


async def choose(settings: Settings) -> Sandbox:
    """The sandbox that `settings.sandbox` names, or the best that works here. Raises ConfigurationError when it, or
    every one, does not."""
    faults: list[str] = []
    for name, make in SANDBOXES.items():
        if settings.sandbox in {None, name}:
            sandbox = make(settings)
            try:
                await sandbox.check()
            except ConfigurationError as error:
                if settings.sandbox == name:
                    raise
                faults.append(error.message)
            else:
                return sandbox
    raise ConfigurationError(" ".join(faults))
