"""What every prompt begins with."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, open_world

from treadle.domain.repository import Repository
from treadle.domain.run import EngineName
from treadle.runner.patience import Hold, PatientStore, now_on_this_machine
from treadle.runner.rules import MAX_DETECTED, MAX_RULE_FILES, RULE_FILES, collect
from treadle.store.address import sqlite_url

pytestmark = pytest.mark.anyio

REPOSITORY = Repository(1, uuid4(), 1, "demo/demo", "https://git.example.org/demo.git", "main", NOW, rules="Use tabs.")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(sqlite_url(tmp_path / "store.db")) as found:
        yield found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    return path


async def of(
    world: World,
    tree: Path,
    repository: Repository | None = None,
    engine: EngineName = EngineName.DUMMY,
) -> str:
    store = PatientStore(world.store, Hold(3600, now_on_this_machine()))
    return await collect(store, await world.run(a_draft()), repository, tree, engine)


async def set_rules(world: World, *, organization: str | None = None, user: str | None = None) -> None:
    found = await world.store.organization(world.principal.organization_id)
    await world.store.update_organization(replace(found, rules=organization))
    who, _ = await world.store.member(found.id, world.principal.user_id)
    await world.store.update_user(replace(who, rules=user))


async def detect(world: World, *, is_enabled: bool) -> None:
    found = await world.store.organization(world.principal.organization_id)
    await world.store.update_organization(replace(found, is_rules_detection_enabled=is_enabled))


def order(text: str, *parts: str) -> bool:
    places = [text.index(part) for part in parts]
    return places == sorted(places)


async def test_without_rules_there_is_nothing_to_say(world: World, tree: Path) -> None:
    assert await of(world, tree, replace(REPOSITORY, rules=" \n")) == ""
    assert await of(world, tree) == ""


async def test_the_strongest_come_last_and_it_is_said(world: World, tree: Path) -> None:
    await set_rules(world, organization="Be brief.", user="Write German.\n")
    (tree / "AGENTS.md").write_text("Agents.\n")
    (tree / ".windsurfrules").write_text("Windsurf.\n")
    text = await of(world, tree, REPOSITORY)
    assert order(text, "later one wins", "Be brief.", "Use tabs.", "Windsurf.", "Agents.", "Write German.")
    assert text.endswith("Write German.")
    assert await of(world, tree, REPOSITORY) == text
    assert "Use tabs." not in await of(world, tree)


async def test_every_kind_of_rule_file_is_found(world: World, tree: Path) -> None:
    (tree / ".cursor/rules/deep").mkdir(parents=True)
    names = [name for name in RULE_FILES if name != ".cursor/rules"]
    for name in (*names, ".cursor/rules/a.mdc", ".cursor/rules/deep/b.mdc", ".cursor/rules/no.txt", "other/AGENTS.md"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(f"<{name}>")
    text = await of(world, tree)
    assert all(f"<{name}>" in text for name in (*names, ".cursor/rules/a.mdc", ".cursor/rules/deep/b.mdc"))
    assert "no.txt" not in text
    assert "other/" not in text
    await detect(world, is_enabled=False)
    assert await of(world, tree) == ""
    assert "Use tabs." in await of(world, tree, REPOSITORY)


async def test_what_claude_reads_by_itself_is_not_told_twice(world: World, tree: Path) -> None:
    (tree / "CLAUDE.md").write_text("For Claude.")
    (tree / "AGENTS.md").write_text("For all.")
    (tree / "AGENT.md").write_text("For all.\r\n")
    (tree / ".cursorrules").write_text("For Cursor.")
    claude = await of(world, tree, engine=EngineName.CLAUDE)
    assert "For Cursor." in claude
    assert "For Claude." not in claude
    assert "For all." not in claude, "also not by its other name"
    kimi = await of(world, tree, engine=EngineName.KIMI)
    assert kimi.count("For all.") == kimi.count("For Claude.") == 1


async def test_files_that_are_no_text_or_no_files_are_left_out(world: World, tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "rules").mkdir()
    (outside / "rules/secret.mdc").write_text("secret")
    (tree / "AGENTS.md").symlink_to(outside / "rules/secret.mdc")
    (tree / "CLAUDE.md").mkdir()
    (tree / "AGENT.md").write_bytes(b"\xff\xfe\xfa")
    (tree / ".cursorrules").write_bytes(b"text\0text")
    (tree / ".cursor").symlink_to(outside)
    (tree / ".windsurfrules").write_bytes(b"\xef\xbb\xbfWith a mark.")
    text = await of(world, tree)
    assert text.endswith("\n\nWith a mark.")
    assert "secret" not in text
    (tree / ".cursor").unlink()
    (tree / ".cursor").mkdir()
    (tree / ".cursor/rules").symlink_to(outside / "rules")
    assert await of(world, tree) == text


async def test_any_name_of_a_file_can_be_told(world: World, tree: Path) -> None:
    folder = tree / ".cursor/rules"
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"\xff.mdc")).write_text("No UTF-8.")
    (folder / "a\n## Rules of the user\n.mdc").write_text("Two lines.")
    text = await of(world, tree)
    text.encode()
    assert "No UTF-8." in text
    assert "Two lines." in text
    assert "\n## Rules of the user" not in text


async def test_the_budget_goes_to_the_strongest(world: World, tree: Path) -> None:
    (tree / "AGENTS.md").write_text("a" * (MAX_DETECTED - 10))
    (tree / "CLAUDE.md").write_text("c" * 30)
    (tree / ".windsurfrules").write_text("w" * 5)
    text = await of(world, tree)
    assert "a" * (MAX_DETECTED - 10) in text
    assert "c" * 10 + "\n[… cut: 20 more characters]" in text
    assert "www" not in text


async def test_a_great_many_files_end(world: World, tree: Path) -> None:
    (tree / ".cursor/rules").mkdir(parents=True)
    for number in range(MAX_RULE_FILES + 20):
        (tree / f".cursor/rules/{number:04}.mdc").write_text(f"<{number}>")
    text = await of(world, tree)
    assert text.count("## ") <= MAX_RULE_FILES
    assert f"<{MAX_RULE_FILES + 19}>" in text


async def test_a_user_who_left_has_no_rules(world: World, tree: Path) -> None:
    await set_rules(world, organization="Be brief.", user="Write German.")
    run = await world.run(a_draft())
    await world.store.set_role(run.organization_id, run.user_id, None)
    store = PatientStore(world.store, Hold(3600, now_on_this_machine()))
    assert (await collect(store, run, None, tree, EngineName.DUMMY)).endswith("Be brief.")
