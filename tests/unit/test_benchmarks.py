"""Every benchmark can be found by `make bench`; their figures are nobody's to assert."""

import importlib
import inspect

import pytest
from benchmarks.__main__ import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_yields_rows(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert inspect.isgeneratorfunction(module.rows)
    assert (module.__doc__ or "").startswith("(")
