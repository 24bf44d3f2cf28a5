"""The demonstration's repository, and the steps that the Dummy engine takes in it."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from treadle.domain.plan import StepSpec

NAME: Final = "words"
BRANCH: Final = "feature/top-words"

_COUNTING: Final = '''\
"""Counts words."""

from collections import Counter


def count(text: str) -> Counter[str]:
    """How often each word stands in `text`."""
    return Counter(text.split())
'''

_MAIN: Final = """\
import sys

from words.counting import count

for word, times in count(sys.stdin.read()).items():
    print(times, word)
"""

_README: Final = """\
# words

Counts the words of a text:

    python3 -m words < text.txt
"""

_TESTS: Final = """\
import unittest

from words.counting import count


class CountTest(unittest.TestCase):
    def test_words_are_counted(self) -> None:
        self.assertEqual(count("a b a"), {"a": 2, "b": 1})
"""

#: The commits that the repository begins with, oldest first: the message, and what it adds.
HISTORY: Final[Sequence[tuple[str, Mapping[str, str]]]] = (
    (
        "Count words",
        {
            ".gitignore": "__pycache__/\n",
            "README.md": _README,
            "words/__init__.py": "",
            "words/__main__.py": _MAIN,
            "words/counting.py": _COUNTING,
        },
    ),
    ("Test the counting", {"tests/__init__.py": "", "tests/test_counting.py": _TESTS}),
)

_BETTER_COUNTING: Final = '''\
"""Counts words."""

import re
from collections import Counter

_WORD = re.compile(r"\\w+(?:['-]\\w+)*")


def count(text: str) -> Counter[str]:
    """How often each word stands in `text`, whatever its case and the punctuation around it."""
    return Counter(word.casefold() for word in _WORD.findall(text))
'''

_BETTER_TESTS: Final = (
    _TESTS
    + """
    def test_case_and_punctuation_make_no_difference(self) -> None:
        self.assertEqual(count("Stop! Don't stop."), {"stop": 2, "don't": 1})
"""
)

_BETTER_MAIN: Final = """\
import argparse
import sys

from words.counting import count

parser = argparse.ArgumentParser(prog="words", description="Counts the words of a text.")
parser.add_argument("--top", type=int, metavar="N", help="show the N most frequent words only")
arguments = parser.parse_args()

for word, times in count(sys.stdin.read()).most_common(arguments.top):
    print(times, word)
"""

_BETTER_README: Final = (
    _README
    + """
The ten most frequent ones:

    python3 -m words --top 10 < text.txt
"""
)

#: Long enough for each phase to be seen, in seconds.
_PAUSE: Final = 0.15
_TEST_LINE: Final = "python3 -m unittest -q"


def _scripted(title: str, *actions: Mapping[str, object]) -> str:
    return f"dummy: {title}\n{json.dumps(actions, ensure_ascii=False)}"


def _validated(said: str) -> tuple[Mapping[str, object], ...]:
    return ({"run": _TEST_LINE, "phase": "validation"}, {"say": said, "phase": "validation"})


STEPS: Final[Sequence[StepSpec]] = (
    StepSpec(
        _scripted(
            "Read the project and say what it lacks",
            {"sleep": _PAUSE},
            {
                "say": "words/counting.py takes `Stop!` and `stop` for two words, and there is no way to see only the "
                "most frequent ones. Both are small changes; the first needs a test."
            },
        ),
        is_commitable=False,
    ),
    StepSpec(
        _scripted(
            "Count words whatever their case and punctuation",
            {"say": "I will match words with an expression, fold their case, and test it.", "phase": "analysis"},
            {"write": ["words/counting.py", _BETTER_COUNTING]},
            {"sleep": _PAUSE},
            {"write": ["tests/test_counting.py", _BETTER_TESTS]},
            {"say": "count() folds case and drops punctuation; a test holds it to that."},
            *_validated("The tests pass."),
        )
    ),
    StepSpec(
        _scripted(
            "Add a --top option to the command line",
            {"say": "I will read the option with argparse and say so in the README.", "phase": "analysis"},
            {"write": ["words/__main__.py", _BETTER_MAIN]},
            {"sleep": _PAUSE},
            {"write": ["README.md", _BETTER_README]},
            {"say": "--top N shows the N most frequent words; the README says how."},
            *_validated("The tests still pass."),
        )
    ),
)
