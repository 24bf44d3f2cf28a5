"""Commands in an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.setup_commands import MAX_BYTES, MAX_LINES, commands_in


@pytest.mark.parametrize(
    ("answer", "commands"),
    [
        ("Run this:\n\n```bash\nnpm ci\nnpm run build\n```\nThat is all.", "npm ci\nnpm run build"),
        ("```\nfirst\n```\nor rather\n```sh\nsecond\n```", "second"),
        ("```sh\nuv sync\n```\nThe file it reads:\n```json\n{}\n```", "uv sync"),
        ("```dockerfile\nnone of a shell's\n```", "none of a shell's"),
        ("~~~\npip install -e .\n~~~", "pip install -e ."),
        ("````sh\ncat > x <<'E'\n```\nE\n````", "cat > x <<'E'\n```\nE"),
        ("```console\n$ make setup\n$ make\n```", "make setup\nmake"),
        ("  ```sh\nmake  \n  ```", "make"),
        ("```sh\nmake", "make"),
        ("```sh\r\nmake\r\n```\r\n", "make"),
        ("npm ci\n", "npm ci"),
        ("# install\nCI=1 npm ci\n\n./scripts/build.sh --all", "# install\nCI=1 npm ci\n\n./scripts/build.sh --all"),
        ("$ pip install .", "pip install ."),
        ("```sh\ntrue\n```", "true"),
    ],
)
def test_finds_them(answer: str, commands: str) -> None:
    assert commands_in(answer) == commands


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "There is nothing to set up.",
        "Run npm ci and then the tests.",
        "npm ci\nThen run the tests.",
        "```sh\n# nothing to do\n```",
        "```sh\n\n```",
        "makefile targets are documented",
        "# only a heading",
        "```sh\n" + "true\n" * (MAX_LINES + 1) + "```",
        "```sh\n" + "true " * (MAX_BYTES // 5 + 1) + "\n```",
    ],
)
def test_finds_none(answer: str) -> None:
    assert commands_in(answer) is None


@given(st.text())
def test_no_answer_is_too_odd(answer: str) -> None:
    found = commands_in(answer)
    assert found is None or (found.strip() and "\0" not in found)


@given(st.lists(st.from_regex(r"[a-z]+( [a-z-]+)*", fullmatch=True), min_size=1, max_size=20))
def test_what_is_fenced_comes_back(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert commands_in(f"So:\n```sh\n{text}\n```\n") == text
