"""The diff's page without a browser: who sees it, what it holds, and what is refused."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import Deployment, deployed
from tests.support.pages import Pages, Person, looking, text
from tests.unit.web.test_diff_parts import diff_of

from treadle.domain.diff_contents import MAX_TEXT_BYTES, Side, Wanted, pack
from treadle.domain.run import Artifact
from treadle.ports import Fence
from treadle.web.pages import diff
from treadle.web.pages.diff.handlers import FIRST_FILES

pytestmark = pytest.mark.anyio

LINES = [(" ", "def f():"), ("-", "    return 1"), ("+", "    return 2"), (" ", "# end")]
PAGE = "/runs/1/diff"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as deployment:
        yield deployment


@pytest.fixture
async def pages(here: Deployment) -> AsyncIterator[Pages]:
    async with looking(here, diff) as there:
        yield there


@pytest.fixture
async def fence(here: Deployment) -> Fence:
    await here.start(generateDiffOnCompletion=True)
    _, fence = await here.claim()
    return fence


@pytest.fixture
async def person(pages: Pages) -> Person:
    return await pages.signed_in()


async def keep(here: Deployment, fence: Fence, name: str, data: bytes) -> None:
    here.clock.advance(1)
    key = f"runs/1/artifacts/1-{name}"
    await here.blobs.put(key, data)
    artifact = Artifact(fence.run_id, name, "application/json", len(data), key, here.clock.now())
    await here.store.add_artifact(fence, artifact)
    await here.store.record(fence, [], here.clock.now(), has_diff=True)


async def test_only_those_who_may_see_the_run(pages: Pages, here: Deployment, fence: Fence) -> None:
    await keep(here, fence, "diff.json", diff_of(("a.py", LINES)))
    paths = [PAGE, *(f"{PAGE}/{part}?at=0" for part in ("file", "tree", "context", "image", "patch", "json"))]
    stranger = await pages.signed_in((await here.member("stranger@treadle.test")).key)
    for path in paths:
        assert (await stranger.get(path)).status_code == 404
        assert (await pages.anybody().get(path)).status_code == 303


async def test_what_is_said_where_there_is_none(person: Person, here: Deployment, fence: Fence) -> None:
    assert "Nothing yet" in text(await person.get(PAGE))
    await keep(here, fence, "diff.json", b'{"files":[]}')
    assert "the branches are the same" in text(await person.get(PAGE))
    assert "this step alone changed was not kept" in text(await person.get(f"{PAGE}?step=1"))


async def test_files_come_bit_by_bit_and_each_once(person: Person, here: Deployment, fence: Fence) -> None:
    count = 2 * FIRST_FILES + 5
    await keep(here, fence, "diff.json", diff_of(*((f"f{n:03}.py", LINES) for n in range(count))))
    seen: list[int] = []
    for start in (0, FIRST_FILES, 2 * FIRST_FILES):
        page = (await person.get(f"{PAGE}?from={start}")).text
        seen += [int(part.partition('"')[0]) for part in page.split('data-at="')[1:]]
        fragment = await person.get(f"{PAGE}?from={start}", **{"X-Fragment": "files"})
        assert fragment.text.count('class="file"') == page.count('class="file"')
        assert "<html" not in fragment.text
    assert seen == list(range(count))


async def test_a_later_diff_under_the_same_key_is_seen(person: Person, here: Deployment, fence: Fence) -> None:
    await keep(here, fence, "diff.json", diff_of(("a.py", LINES)))
    assert "return 2" in text(await person.get(PAGE)).replace("  ", " ")
    await keep(here, fence, "diff.json", diff_of(("b.py", LINES)))
    page = text(await person.get(PAGE))
    assert "b.py" in page
    assert "a.py" not in page


async def test_context_opens_only_with_what_belongs_to_this_diff(
    person: Person, here: Deployment, fence: Fence
) -> None:
    data = diff_of(("a.py", LINES)).replace(b"@@ -1,3 +1,3 @@", b"@@ -5,3 +5,3 @@")
    text_of_it = b"".join(b"line %d\n" % n for n in range(1, 21))
    wanted = [(Wanted(0, Side.NEW, "0" * 40, is_picture=False), text_of_it)]
    await keep(here, fence, "diff.contents", pack("another", wanted))
    await keep(here, fence, "diff.json", data)
    assert "Show 4 unchanged" not in text(await person.get(PAGE))
    await keep(here, fence, "diff.contents", pack(hashlib.sha256(data).hexdigest(), wanted))
    page = text(await person.get(PAGE))
    assert "Show 4 unchanged lines" in page
    assert "Show 13 unchanged lines" in page
    opened = await person.get(f"{PAGE}/context?at=0&old=1&new=1&end=5")
    assert [f"line {n}" in text(opened) for n in range(1, 6)] == [True] * 4 + [False]
    whole = text(await person.get(f"{PAGE}?at=0&whole=1"))
    assert "line 20" in whole
    assert "unchanged" not in whole


async def test_a_patch_of_one_file(person: Person, here: Deployment, fence: Fence) -> None:
    await keep(here, fence, "diff.json", diff_of(("other.py", LINES), ('odd "name" ü.py', LINES)))
    answer = await person.get(f"{PAGE}/patch?at=1")
    name = '"a/odd \\"name\\" \\303\\274.py"'
    assert answer.text.splitlines() == [
        f"diff --git {name} {name.replace('a/', 'b/')}",
        f"--- {name}",
        f"+++ {name.replace('a/', 'b/')}",
        "@@ -1,3 +1,3 @@ def f():",
        *(mark + content for mark, content in LINES),
    ]
    assert answer.headers["content-type"].startswith("text/plain")
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        *("/file", "/file?at=1", "/file?at=-1", "/file?at=²", "/file?at=99999999999"),
        *("/context?at=0&old=1&new=1&end=2", "/image?at=0&side=new"),
        *("/patch?at=7", "/json?step=3", "/patch?step=9"),
    ],
)
async def test_what_is_not_there_is_not_found(person: Person, here: Deployment, fence: Fence, path: str) -> None:
    await keep(here, fence, "diff.json", diff_of(("a.py", LINES)))
    assert (await person.get(PAGE + path)).status_code == 404


async def test_a_broken_diff_is_said_to_be(person: Person, here: Deployment, fence: Fence) -> None:
    await keep(here, fence, "diff.json", json.dumps({"files": [1]}).encode())
    answer = await person.get(PAGE)
    assert answer.status_code == 400
    assert "not the JSON of a diff" in text(answer)


async def test_the_layout_is_remembered(person: Person, here: Deployment, fence: Fence) -> None:
    await keep(here, fence, "diff.json", diff_of(("a.py", LINES)))
    assert 'class="pair"' not in (await person.get(PAGE)).text
    assert 'class="pair"' in (await person.get(f"{PAGE}?view=split")).text
    assert 'class="pair"' in (await person.get(PAGE)).text
    assert 'class="pair"' not in (await person.get(f"{PAGE}?view=unified")).text
    assert 'class="pair"' not in (await person.get(PAGE)).text


def test_kept_texts_are_small() -> None:
    assert Wanted(0, Side.NEW, "0", is_picture=False).max_bytes == MAX_TEXT_BYTES
