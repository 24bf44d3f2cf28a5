"""Where sealing keys come from: the environment, a file, or a command such as the client of a key store."""

import asyncio
import os
import shlex
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.settings import PREFIX, Settings
from treadle.vault.key_file import MAX_KEY_TEXT_BYTES, Fingerprint, KeyFile
from treadle.vault.keys import SealingKey, parse_keys

KEY_FILE = "secret.key"

VARIABLE: Final = f"{PREFIX}SECRET_KEY"
FILE_VARIABLE: Final = f"{PREFIX}SECRET_KEY_FILE"
COMMAND_VARIABLE: Final = f"{PREFIX}SECRET_KEY_COMMAND"

#: A command that has not printed the keys by then is ended.
COMMAND_SECONDS = 10.0
#: Nothing tells when a key store has another key, so it is asked again after so long.
COMMAND_AGE_SECONDS = 300.0


class KeySource(Protocol):
    """`is_fixed`: what it gave once it always gives. `is_slow`: loading takes longer than an event loop may wait."""

    @property
    def is_fixed(self) -> bool: ...
    @property
    def is_slow(self) -> bool: ...
    @property
    def name(self) -> str:
        """For a sentence, such as `TREADLE_SECRET_KEY`."""

    def load(self) -> tuple[SealingKey, ...]:
        """The first seals. Raises ConfigurationError, which repeats nothing of what it found."""

    def may_differ(self) -> bool:
        """Whether `load` may give something else than it last gave; quick. Asked anew after each True, it looks for a
        further change."""


class EnvironmentKeys:
    """`TREADLE_SECRET_KEY`: for as long as the process lives."""

    is_fixed = True
    is_slow = False
    name = VARIABLE

    def __init__(self, text: str) -> None:
        self._text = text

    def load(self) -> tuple[SealingKey, ...]:
        return parse_keys(self._text, source=self.name)

    def may_differ(self) -> bool:
        return False


class FileKeys:
    """A file; `makes`: it is made when it is missing."""

    is_fixed = False
    is_slow = False

    def __init__(self, file: KeyFile, *, makes: bool = False, random: Callable[[int], bytes] = os.urandom) -> None:
        self.file = file
        self._makes = makes
        self._random = random
        self._seen: Fingerprint | None = None

    @property
    def name(self) -> str:
        return str(self.file.path)

    def load(self) -> tuple[SealingKey, ...]:
        if self._makes and not self.file.path.exists():
            self.file.make(self._random)
        self._seen = self.file.fingerprint()  # before the content: a change in between is seen the next time
        return self.file.read()

    def may_differ(self) -> bool:
        """Whatever comes of loading it: a file that cannot be read is tried again when it has changed."""
        found = self.file.fingerprint()
        if found is None or found == self._seen:
            return False
        self._seen = found
        return True


class CommandKeys:
    """What a command prints. It is run without a shell, as the service's user, with its environment but for
    Treadle's own settings."""

    is_fixed = False
    is_slow = True
    name = COMMAND_VARIABLE

    def __init__(
        self, line: str, environment: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ConfigurationError for a line that is no command."""
        try:
            self._argv = tuple(shlex.split(line))
        except ValueError:
            self._argv = ()
        if not self._argv:
            raise ConfigurationError(
                f"{self.name} is no command: a quotation mark is left open, or there is no word.",
                hint="It is run without a shell; write `sh -c '…'` for one.",
            )
        self._environment = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
        self._clock = clock
        self._asked = clock()

    def load(self) -> tuple[SealingKey, ...]:
        self._asked = self._clock()
        # A thread and a loop of its own, as the caller may be on one: `command` is the one place that spawns.
        with ThreadPoolExecutor(1, "sealing keys") as thread:
            done = thread.submit(lambda: asyncio.run(self._run())).result()
        if done.exit_code != 0:
            raise ConfigurationError(f"{self.name} ended with the exit code {done.exit_code}.", hint=_BY_HAND)
        return parse_keys(done.stdout.decode("ascii", errors="replace"), source=f"What {self.name} prints")

    def may_differ(self) -> bool:
        if self._clock() - self._asked < COMMAND_AGE_SECONDS:
            return False
        self._asked = self._clock()
        return True

    async def _run(self) -> command.Completed:
        try:
            return await command.run(
                self._argv,
                environment=self._environment,
                seconds=COMMAND_SECONDS,
                output_bytes=MAX_KEY_TEXT_BYTES,
            )
        except command.CommandError as error:
            raise ConfigurationError(f"{self.name} gave no key: {error.message}", hint=_BY_HAND) from None


_BY_HAND = "Run it by hand to see what it says: nothing of that is repeated here."


def key_source(settings: Settings, *, random: Callable[[int], bytes] = os.urandom) -> KeySource:
    """The one that the settings name, else `secret.key` in the data directory, made when missing. Each holds one key or
    several. Raises ConfigurationError where they name more than one."""
    key, path, line = settings.secret_key, settings.secret_key_file, settings.secret_key_command
    given = {VARIABLE: key, FILE_VARIABLE: path, COMMAND_VARIABLE: line}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigurationError(
            f"{' and '.join(named)} are set, and each says where the sealing keys are.", hint="Set one of them."
        )
    if key is not None:
        return EnvironmentKeys(key.get_secret_value())
    if line is not None:
        return CommandKeys(line, os.environ)
    if path is not None:
        return FileKeys(KeyFile(path))
    return FileKeys(KeyFile(settings.data_dir / KEY_FILE), makes=True, random=random)


def load_keys(settings: Settings, *, random: Callable[[int], bytes] = os.urandom) -> tuple[SealingKey, ...]:
    """Those of `key_source`. Raises ConfigurationError."""
    return key_source(settings, random=random).load()
