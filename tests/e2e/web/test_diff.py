"""The diff of a real run in a browser: every kind of change, 300 files, hostile names and contents, each step alone."""

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect
from tests.support.browser import Chromium, Person
from tests.support.git_server import GitServer
from tests.support.service import Service, step

CREDENTIALS = "ada:correct horse"
MANY, OTHERS = 300, 12


def png(red: int, green: int, blue: int) -> bytes:
    """A picture of one colour, 48 by 32."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * 48) * 32
    header = struct.pack(">IIBBBBB", 48, 32, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


SHOP = "".join(
    ["import decimal\n\n\n"]
    + [
        f'def price_{n}(items: list[int]) -> int:\n    """The price."""\n    return sum(items) + {n}\n\n\n'
        for n in range(30)
    ]
)

BEFORE: dict[str, bytes | str] = {
    "README.md": "# Shop\n\nA shop.\n",
    "src/shop.py": SHOP,
    "src/old_name.py": "".join(f"LINE_{n} = {n}\n" for n in range(30)),
    "src/windows.txt": "one\r\ntwo\r\nthree\r\n",
    "src/ends.txt": "first\nlast",
    "tools/run.sh": "#!/bin/sh\necho run\n",
    "art/logo.png": png(200, 40, 40),
    "art/data.bin": bytes(range(256)) * 4,
    "web/package-lock.json": "{}\n",
    "docs/gone.md": "# Gone\n",
}

EDIT = r"""set -e
sed -i -e 's/    return sum(items) + 3$/    return sum(items, start=decimal.Decimal(0)) + 3/' \
    -e 's/price_25(items: list\[int\])/price_25(items: tuple[int, ...])/' src/shop.py
mv src/old_name.py src/new_name.py
sed -i 's/LINE_7 = 7/LINE_7 = 70/' src/new_name.py
printf 'one\r\nTWO\r\nthree\n' > src/windows.txt
printf 'first\nlast, changed' > src/ends.txt
chmod +x tools/run.sh
printf '\000\001\002new' >> art/data.bin
rm docs/gone.md
python3 - <<'PY'
import json
open("art/logo.png", "wb").write(bytes.fromhex("PICTURE"))
open("web/package-lock.json", "w").write(json.dumps({str(n): n for n in range(200)}, indent=1) + "\n")
hostile = "if admin\u202e \u2066// check\u2069 \u2066:\n\x1b[31mred\x1b[0m\n"
open("src/<b>bold<&>\u202egnp.exe", "w").write("<script>alert(1)</script>\n" + hostile)
open("src/long.js", "w").write("x" * (1 << 20) + "\nshort\n")
open("src/large.py", "w").write("".join(f"value_{n} = {n}\n" for n in range(1500)))
PY
""".replace("PICTURE", png(40, 90, 200).hex())

MANY_FILES = (
    f"mkdir -p gen && for n in $(seq 1 {MANY}); do mkdir -p gen/d$((n % 7)); "
    "printf 'x = %s\\n' $n > gen/d$((n % 7))/f$n.py; done"
)


@pytest.fixture(scope="module")
def git() -> Iterator[GitServer]:
    with GitServer(username="ada", password="correct horse") as server:
        server.create("acme/shop", BEFORE)
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def run_id(service: Service, git: GitServer) -> int:
    """Of a run of two steps: every kind of change, then many files."""
    process = service.start(
        gitUrl=git.url("acme/shop"),
        gitHttpCredentials=CREDENTIALS,
        branchSource="main",
        branchWork="work",
        engine="Dummy",
        generateDiffOnCompletion=True,
        steps=[
            step("dummy: Change everything\n" + json.dumps([{"run": EDIT}])),
            step("dummy: Make many files\n" + json.dumps([{"run": MANY_FILES}])),
        ],
    )
    service.wait(process, "Success")
    return 1


@pytest.fixture
def person(service: Service, chromium: Chromium) -> Iterator[Person]:
    with chromium.person(service.url) as somebody:
        somebody.sign_in(service.key)
        yield somebody


def file_of(person: Person, name: str) -> str:
    """The selector of a file's box, by a part of its name."""
    at = person.page.locator(".file", has=person.page.locator(".file-name", has_text=name)).first.get_attribute(
        "data-at"
    )
    return f".file[data-at='{at}']"


def until_they_stand(file: Locator, how: str) -> None:
    """Its first line that went and its first that came, in one look: pictures above them may still move both."""
    file.page.wait_for_function(
        f"""file => {{
            const [old, fresh] = [".ln.d", ".ln.a"].map(each => file.querySelector(each).getBoundingClientRect());
            return {how};
        }}""",
        arg=file.element_handle(),
    )


def test_a_step_alone_shows_every_kind_of_change(person: Person, run_id: int) -> None:
    person.go(f"/runs/{run_id}/diff?step=1")
    page = person.page
    expect(page.get_by_role("heading", name="What changed")).to_be_visible()
    expect(page.locator("#matching")).to_have_text(f"{OTHERS} files")
    shop = page.locator(file_of(person, "src/shop.py"))
    expect(shop.locator(".ln.a .w").first).to_contain_text("start=decimal.Decimal(")
    expect(shop.locator(".ln.a").first).to_contain_text("start=decimal.Decimal(0)")
    expect(shop.locator(".hk").first).to_be_visible()
    renamed = page.locator(file_of(person, "new_name.py"))
    expect(renamed.locator(".file-name")).to_contain_text("src/old_name.py")
    expect(renamed.locator(".badge")).to_have_text(["renamed"])
    expect(page.locator(file_of(person, "run.sh"))).to_contain_text("not executable → executable")
    expect(page.locator(file_of(person, "data.bin"))).to_contain_text("A binary file")
    expect(page.locator(file_of(person, "windows.txt")).locator(".cr").first).to_be_attached()
    expect(page.locator(file_of(person, "ends.txt"))).to_contain_text("no newline at the end")
    expect(page.locator(file_of(person, "package-lock.json"))).to_contain_text("A lock file")
    expect(page.locator(file_of(person, "gone.md")).locator(".badge")).to_have_text(["deleted"])
    logo = page.locator(file_of(person, "logo.png"))
    for side in ("old", "new"):
        picture = logo.locator(f".is-{side} img")
        picture.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete && image.naturalWidth === 48", arg=picture.element_handle())
    person.check("diff")


def test_hostile_names_and_contents_are_text(person: Person, run_id: int) -> None:
    person.go(f"/runs/{run_id}/diff?step=1")
    hostile = person.page.locator(file_of(person, "<b>bold<&>"))
    expect(hostile.locator(".file-name")).to_contain_text("U+202E")
    expect(hostile).to_contain_text("<script>alert(1)</script>")
    for mark in ("U+202E", "U+2066", "ESC"):
        expect(hostile.locator("code .hidden-character", has_text=mark).first).to_be_visible()
    long = person.page.locator(file_of(person, "long.js"))
    expect(long).to_contain_text("more characters are not shown")
    expect(long.locator(".ln", has_text="short")).to_be_visible()
    assert len(person.page.content()) < 600_000


def test_side_by_side_is_remembered_and_falls_back_on_a_phone(person: Person, run_id: int) -> None:
    page = person.page
    person.go(f"/runs/{run_id}/diff?step=1")
    person.follow(page.get_by_role("link", name="Side by side"))
    expect(page).to_have_url(re.compile("view=split"))
    shop = page.locator(file_of(person, "src/shop.py"))
    until_they_stand(shop, "old.y === fresh.y && old.x < fresh.x")
    person.check("diff-split")
    person.go(f"/runs/{run_id}/diff?step=1")
    expect(page.locator(".pair").first).to_be_attached()
    page.set_viewport_size({"width": 390, "height": 844})
    until_they_stand(shop, "old.y < fresh.y && old.x === fresh.x")
    page.set_viewport_size({"width": 1360, "height": 900})
    page.get_by_role("link", name="Unified").click()
    expect(page.locator(".pair")).to_have_count(0)


@pytest.mark.parametrize("layout", ["unified", "split"])
def test_context_opens(person: Person, run_id: int, layout: str) -> None:
    person.go(f"/runs/{run_id}/diff?step=1&view={layout}&filter=shop.py")  # no picture above it moves it when it comes
    shop = person.page.locator(file_of(person, "src/shop.py"))
    gaps = shop.locator(".gap a")
    expect(gaps).to_have_count(3)
    while gaps.count():
        before = gaps.count()
        gaps.first.click()
        expect(gaps).to_have_count(before - 1)
    shown = [int(each) for each in shop.locator("a[id*='R']").all_text_contents()]
    assert sorted(set(shown)) == list(range(1, SHOP.count("\n") + 1))


def test_300_files_come_as_one_looks(person: Person, run_id: int) -> None:
    page = person.page
    person.go(f"/runs/{run_id}/diff")
    expect(page.locator("#matching")).to_have_text(f"{MANY + OTHERS} files")
    assert page.locator(".file").count() <= 60
    page.get_by_label("Filter files").fill("f299.py")
    expect(page.locator(".file")).to_have_count(1)
    expect(page.locator(".leaf")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"filter=f299\.py"))
    person.no_faults()
    page.get_by_label("Filter files").fill("gen/")
    closed = page.locator("details[data-load]")
    expect(closed.first).to_be_attached()
    while closed.count():
        before = closed.count()
        closed.first.locator("summary").click()
        expect(closed).to_have_count(before - 1)
    expect(page.locator(".leaf")).to_have_count(MANY)
    page.locator(".leaf", has_text="f293.py").click()  # far down: not on the page yet
    expect(page.locator(".file", has_text="f293.py")).to_be_in_viewport()
    person.check("diff-many")


def test_keys_go_from_file_to_file_and_viewed_is_remembered(person: Person, run_id: int) -> None:
    page = person.page
    person.go(f"/runs/{run_id}/diff?step=1")
    page.locator("h1").click()
    page.keyboard.press("n")
    page.keyboard.press("n")
    expect(page.locator(".file.is-current")).to_have_attribute("data-at", "1")
    page.keyboard.press("v")
    expect(page.locator(".file[data-at='1'] .file-body")).to_be_hidden()
    page.keyboard.press("p")
    expect(page.locator(".file.is-current")).to_have_attribute("data-at", "0")
    page.reload()
    expect(page.get_by_label("Viewed").nth(1)).to_be_checked()
    expect(page.locator(".file[data-at='1'] .file-body")).to_be_hidden()
    expect(page.locator("#viewed-count")).to_have_text("1 viewed")


def test_a_link_leads_to_its_line(person: Person, run_id: int) -> None:
    page = person.page
    person.go(f"/runs/{run_id}/diff?step=1&filter=large.py")
    at = page.locator(".file").get_attribute("data-at")
    expect(page.locator(".file")).to_contain_text("A large new file of 1500 lines")
    person.go("/runs")
    person.go(f"/runs/{run_id}/diff?step=1#f{at}R1234")
    line = page.locator(f"#f{at}R1234")
    expect(line).to_be_in_viewport()
    expect(page.locator(".ln", has=line)).to_contain_text("value_1233")
    page.get_by_role("link", name="1235", exact=True).click()
    expect(page).to_have_url(re.compile(rf"#f{at}R1235$"))


def test_it_reads_without_javascript(service: Service, chromium: Chromium, run_id: int) -> None:
    with chromium.person(service.url, javascript=False) as person:
        person.sign_in(service.key)
        person.go(f"/runs/{run_id}/diff")
        page = person.page
        seen: list[str] = []
        while True:
            seen += page.locator(".file-name").all_text_contents()
            following = page.get_by_role("link", name="More files")
            if not following.count():
                break
            person.follow(following)
        assert len(seen) == len(set(seen)) == MANY + OTHERS
        person.go(f"/runs/{run_id}/diff?step=1&filter=package-lock")
        page.get_by_role("link", name="Show it").click()
        expect(page.locator(".ln.a")).to_have_count(202)
        person.go(f"/runs/{run_id}/diff?step=1&filter=shop.py")
        person.follow(page.locator(".gap a").first)
        expect(page.locator(".gap a")).to_have_count(0)
        person.go(f"/runs/{run_id}/diff?step=1&filter=large.py")
        page.get_by_role("link", name="Show it").click()
        page.get_by_role("link", name="Show more of this file").click()
        expect(page.locator(".ln.a").last).to_contain_text("value_1499")


def test_patches_and_json_are_there_to_take(person: Person, run_id: int) -> None:
    page = person.page
    person.go(f"/runs/{run_id}/diff")
    with page.expect_download() as whole:
        page.get_by_role("link", name="Download the patch").click()
    assert Path(whole.value.path()).read_bytes().count(b"diff --git ") == MANY + OTHERS
    with page.expect_download() as structured:
        page.get_by_role("link", name="JSON", exact=True).click()
    assert len(json.loads(Path(structured.value.path()).read_bytes())["files"]) == MANY + OTHERS
    person.go(f"/runs/{run_id}/diff?step=1")
    page.locator(file_of(person, "new_name.py")).get_by_role("link", name="Patch").click()
    expect(page.locator("body")).to_contain_text("rename from src/old_name.py")
