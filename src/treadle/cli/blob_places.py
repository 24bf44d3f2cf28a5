"""What `treadle blobs` does."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from treadle.blobs.copying import Copying, Tally
from treadle.blobs.places import BucketPlace, DirectoryPlace, open_blobs, place_of
from treadle.cli import interrupts, output, terminal
from treadle.cli.failures import Stopped
from treadle.cli.lines import counted
from treadle.cli.output import FAILED
from treadle.domain.errors import ConfigurationError, InvalidInput
from treadle.domain.sizes import show_size
from treadle.settings import Settings

#: Of what failed, so much is named one by one.
_NAMED: Final = 10
_REDRAW_SECONDS: Final = 0.2

Place = DirectoryPlace | BucketPlace


def check(*, is_json: bool) -> None:
    """Raises ConfigurationError unless the place works."""
    settings = Settings.load(os.environ)
    place = place_of(settings.blob_url, settings)
    interrupts.run(open_blobs(settings.blob_url, settings).check())
    if is_json:
        output.as_json({"place": str(place), "works": True})
    else:
        output.line(f"{place} can be written, read and deleted.")


def copy(source_url: str | None, target_url: str, *, verify: bool, is_json: bool) -> None:
    """Raises InvalidInput, ConfigurationError, Unavailable; Stopped when a blob could not be copied."""
    settings = Settings.load(os.environ)
    source_url = source_url or settings.blob_url
    source, target = place_of(source_url, settings), place_of(target_url, settings)
    if _is_within(source, target) or _is_within(target, source):
        raise InvalidInput({"--to": [f"{target} is, or is within, or holds {source}"]}, "Nothing can be copied.")
    if isinstance(source, DirectoryPlace) and not source.path.is_dir():
        raise ConfigurationError(f"There is no directory {source}.", hint="--from names where the blobs are now.")
    copying = Copying(open_blobs(source_url, settings), open_blobs(target_url, settings), verify=verify)
    try:
        interrupts.run(_run(copying, target_url, settings, is_json=is_json))
    finally:
        _report(copying.tally, source, target, is_json=is_json)  # also of a pass that was broken off
    if copying.tally.failed:
        raise Stopped(FAILED)


async def _run(copying: Copying, target_url: str, settings: Settings, *, is_json: bool) -> None:
    await open_blobs(target_url, settings).check()
    async with _shown(copying, is_quiet=is_json or not output.is_terminal()):
        await copying.run()


@asynccontextmanager
async def _shown(copying: Copying, *, is_quiet: bool) -> AsyncIterator[None]:
    if is_quiet:
        yield
        return
    with terminal.console().status("Looking at what is there …") as status:

        async def draw() -> None:
            while True:
                await asyncio.sleep(_REDRAW_SECONDS)
                if copying.tally.seen:
                    status.update(_summary(copying.tally))

        drawing = asyncio.create_task(draw())
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.wait({drawing})


def _report(tally: Tally, source: Place, target: Place, *, is_json: bool) -> None:
    if is_json:
        output.as_json(
            {
                "from": str(source),
                "to": str(target),
                "copied": tally.copied,
                "copiedBytes": tally.copied_bytes,
                "there": tally.there,
                "thereBytes": tally.there_bytes,
                "gone": tally.gone,
                "failed": [{"key": key, "error": why} for key, why in tally.failed],
            }
        )
        return
    output.line(_summary(tally))
    for key, why in tally.failed[:_NAMED]:
        output.note(f"  {key}: {why}")
    if len(tally.failed) > _NAMED:
        output.note(f"  and {len(tally.failed) - _NAMED} more")


def _summary(tally: Tally) -> str:
    said = [f"{counted(tally.copied, 'blob')} copied ({show_size(tally.copied_bytes)})"]
    said.append(f"{tally.there} there already ({show_size(tally.there_bytes)})")
    if tally.gone:
        said.append(f"{tally.gone} deleted meanwhile")
    if tally.failed:
        said.append(f"{len(tally.failed)} failed")
    return ", ".join(said) + "."


def _is_within(inner: Place, outer: Place) -> bool:
    match inner, outer:
        case DirectoryPlace(inside), DirectoryPlace(outside):
            return inside.resolve().is_relative_to(outside.resolve())
        case BucketPlace(bucket, inside), BucketPlace(other, outside):
            return bucket == other and f"{inside}/".startswith(f"{outside}/".removeprefix("/"))
        case _:
            return False
