"""Takes docs/images/run.png: the page of a run that goes on, in Chromium, from a real service with the Dummy engine.

.venv/bin/python -m scripts.screenshot
"""  # noqa: INP001  # a script, not a package

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.browser import Chromium
from tests.support.repositories import BareRepositories
from tests.support.service import Json, Service, step

from treadle.cli.demo_sample import BRANCH, HISTORY, STEPS

TARGET = Path(__file__).parents[1] / "docs/images/run.png"

#: Of the picture, in pixels; and how large it may become, in bytes: it is part of every clone.
WIDTH, HEIGHT = 1280, 800
LARGEST = 200_000

#: The bills of the sample's first two steps; the last one is at work for as long as the picture takes.
BILLS = ({"input": 18_400, "output": 910, "cost": 0.07}, {"input": 41_700, "output": 3_280, "cost": 0.21})
RAN = "Ran 2 tests"
AT_WORK = (
    {"think": "most_common(None) gives all of them, so that without the option nothing changes. Do the tests agree?"},
    {"run": "python3 -m unittest"},
    {"hang": True},
)


def main() -> None:
    """Writes the picture."""
    with tempfile.TemporaryDirectory(prefix="treadle-picture-") as folder, Chromium() as chromium:
        repositories = BareRepositories(Path(folder))
        repositories.create("acme/words")
        for message, files in HISTORY:
            repositories.commit("acme/words", files, message=message)
        with Service(Path(folder) / "data") as service, chromium.person(service.url) as person:
            run = service.start(
                gitUrl=str(repositories.path("acme/words")),
                branchSource="main",
                branchWork=BRANCH,
                engine="Dummy",
                steps=steps(),
            )
            service.wait_for(run, lambda event: event["step"] == len(STEPS) and RAN in str(event["data"].get("output")))
            person.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            person.page.emulate_media(color_scheme="light", reduced_motion="reduce")
            person.sign_in(service.key)
            person.go("/runs/1")
            person.page.get_by_text("Live", exact=True).wait_for()
            person.page.locator("#trace-items summary").last.click()
            person.page.get_by_text(RAN).last.scroll_into_view_if_needed()
            person.page.evaluate("scrollTo(0, 0)")
            TARGET.write_bytes(person.page.screenshot())
    if TARGET.stat().st_size > LARGEST:
        raise SystemExit(f"{TARGET} has {TARGET.stat().st_size:,} bytes, and may have {LARGEST:,}.")


def steps() -> list[Json]:
    """Those of `treadle demo`, with a bill."""
    more: tuple[tuple[Mapping[str, object], ...], ...] = (*(({"usage": bill},) for bill in BILLS), AT_WORK)
    return [
        step(scripted(each.text, actions), commitable=each.is_commitable)
        for each, actions in zip(STEPS, more, strict=True)
    ]


def scripted(text: str, more: tuple[Mapping[str, object], ...]) -> str:
    """A step of the Dummy's that does more at its end."""
    title, _, actions = text.partition("\n")
    return f"{title}\n{json.dumps([*json.loads(actions), *more], ensure_ascii=False)}"


if __name__ == "__main__":
    main()
