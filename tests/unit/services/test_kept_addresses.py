"""Addresses with credentials are found wherever they stand in what is kept, and named without being repeated."""

import pytest

from treadle.services.kept_addresses import TOLD_ADDRESSES, address_faults, line_with_credentials

SECRET = "https://bot:hush@git.example/acme/shop.git"


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"a": SECRET}, ["inputs.a"]),
        ({"a": [{"b": ["x", SECRET]}, SECRET]}, ["inputs.a[0].b[1]", "inputs.a[1]"]),
        ({"a": {"b": {SECRET: 1, "c": SECRET}}}, ["inputs.a.b", "inputs.a.b.c"]),
        ({"a": f"  {SECRET}\n"}, ["inputs.a"]),
        ({"a": f"https://git.example/a,{SECRET}"}, ["inputs.a"]),
        ({"a": f'["{SECRET}"]'}, ["inputs.a"]),
        ({"a": "HTTPS://hush@git.example"}, ["inputs.a"]),
        ({"a": "https://bot:hu'sh@git.example/a"}, ["inputs.a"]),
        ({"a": "ssh://git:hush@git.example/a"}, ["inputs.a"]),
        ({"a": "ssh://git@git.example/a", "b": "git@git.example:acme/shop.git"}, []),
        ({"a": "https://git.example/@acme/shop.git", "b": "bea@example.com", "c": ["https://git.example", "a@b"]}, []),
        ({"a": '{"url":"https://git.example","mail":"bea@example.com"}', "b": [1, None, True, 1.5]}, []),
    ],
)
def test_every_place_is_named(value: object, paths: list[str]) -> None:
    found = address_faults(value, "inputs")
    assert list(found) == paths
    assert "hush" not in f"{found}"


def test_however_deep_and_however_many() -> None:
    deep: object = SECRET
    for _ in range(100_000):
        deep = [deep]
    assert list(address_faults(deep, "inputs")) == ["inputs" + "[0]" * 100_000]
    assert len(address_faults({"a" * 100_000: [SECRET] * 10_000}, "inputs")) == TOLD_ADDRESSES


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (f"x = 1\ny = '{SECRET}'\n", 2),
        (f"x = '''\n{SECRET}'''", 2),
        (f"# {SECRET}", 1),
        ("x = 'https://' + inputs.user + '@git.example'", None),
        ("x = ['https://git.example','a@b']\ny = 'ssh://git@git.example/a'", None),
    ],
)
def test_a_sources_line_is_told(source: str, line: int | None) -> None:
    assert line_with_credentials(source) == line
