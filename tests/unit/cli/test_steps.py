from pathlib import Path

import pytest

from treadle.cli.steps import in_order, load_plan, text_or_file
from treadle.domain.errors import ConfigurationError, InvalidInput
from treadle.domain.network import NetworkPolicy
from treadle.domain.plan import Plan, StepSpec, read_plan


def test_the_order_of_the_command_line_is_the_order_of_the_steps() -> None:
    found = in_order(["step", "repo", "analysis", "step"], ["one", "three"], ["two"], structured=False)
    assert found == [StepSpec("one"), StepSpec("two", is_commitable=False), StepSpec("three")]


def test_structured_counts_for_every_step() -> None:
    assert all(step.is_structured for step in in_order(["step", "analysis"], ["a"], ["b"], structured=True))


def test_a_plan_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        """
repo: https://git.example.com/words.git
source: develop
branch: feature/top
engine: Dummy
maxCostUsd: 0.5
network: allow:pkg.test
guidelines: |
  Write tests.
steps:
  - Add a word counter
  - {analysis: Review it, structured: true}
  - step: Document it
""",
        encoding="utf-8",
    )
    assert load_plan(path) == Plan(
        repo="https://git.example.com/words.git",
        source="develop",
        branch="feature/top",
        engine="Dummy",
        guidelines="Write tests.\n",
        max_cost_usd=0.5,
        network=NetworkPolicy.parse("allow:pkg.test"),
        steps=(
            StepSpec("Add a word counter"),
            StepSpec("Review it", is_commitable=False, is_structured=True),
            StepSpec("Document it"),
        ),
    )


def test_every_fault_of_a_plan_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_plan(
            {
                "branche": "x",
                "source": 3,
                "maxCostUsd": "much",
                "network": "some",
                "steps": [
                    7,
                    {"step": "a", "analysis": "b"},
                    {"step": "a", "commit": True},
                    {"analysis": 1, "structured": "yes"},
                ],
            }
        )
    assert set(caught.value.faults) == {
        "branche",
        "source",
        "maxCostUsd",
        "network",
        "steps[0]",
        "steps[1]",
        "steps[2]",
        "steps[3]",
    }
    assert "`commit` is not a key of a step" in caught.value.faults["steps[2]"][0]


@pytest.mark.parametrize("content", ["steps: [", "{a: }}", "\tx: y"])
def test_a_plan_that_is_no_yaml_says_where(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="not valid YAML at line 1"):
        load_plan(path)


def test_a_plan_that_is_a_list_is_refused() -> None:
    with pytest.raises(InvalidInput):
        read_plan(["a step"])


def test_text_comes_from_a_file_when_it_begins_with_an_at_sign(tmp_path: Path) -> None:
    (tmp_path / "rules.md").write_text("Write tests.", encoding="utf-8")
    assert text_or_file(f"@{tmp_path}/rules.md") == "Write tests."
    assert text_or_file("rules") == "rules"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        text_or_file(f"@{tmp_path}/none.md")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.bin").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        text_or_file(f"@{tmp_path}/rules.bin")
