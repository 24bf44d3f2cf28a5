"""Runs the service in the foreground."""

import asyncio
import os
from collections.abc import Mapping
from typing import Final

from treadle import logs, sandbox, server
from treadle.cli import output
from treadle.factory import Parts
from treadle.settings import Settings
from treadle.version import __version__

_NO_WALLS: Final = (
    "Warning: TREADLE_SANDBOX=none. Engines see and change all that this user can, whoever asks for a run."
)
_ONCE: Final = "This is the admin's API key. It is shown this once:"


def run_service(overrides: Mapping[str, object], *, with_api: bool, with_worker: bool, is_json: bool) -> None:
    """Until a signal. Raises ConfigurationError."""
    settings = Settings.load(os.environ, **overrides)
    logs.configure(settings)

    if with_worker and settings.sandbox == sandbox.NONE and not is_json and output.is_terminal():
        output.note(_NO_WALLS)

    def say(address: str, parts: Parts) -> None:
        url = settings.public_url or address
        if is_json:
            output.as_json({"url": url, "apiKey": new_key(parts), "dataDir": str(settings.data_dir)}, indent=False)
            return
        what = f"listens on {url}" if with_api else "works"
        output.line(f"Treadle {__version__} {what}. Data: {settings.data_dir}. Ctrl-C ends it.")
        for line in key_lines(parts, url):
            output.line(line)

    asyncio.run(server.serve(settings, with_api=with_api, with_worker=with_worker, on_ready=say))


def new_key(parts: Parts) -> str | None:
    """The first admin's key, when this start made it."""
    admin = parts.first_admin
    return admin.key if admin is not None and admin.is_generated else None


def key_lines(parts: Parts, url: str) -> list[str]:
    """What to copy, where there is a new key."""
    key = new_key(parts)
    if key is None:
        return []
    exports = [f"  export TREADLE_API_KEY={key}"]
    return ["", _ONCE, "", *([f"  export TREADLE_URL={url}"] if url else []), *exports, ""]
