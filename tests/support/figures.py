"""Metrics as Prometheus reads them.

found = Figures(answer.text)
found["treadle_runs_finished_total", {"status": "Success"}] == 1
"""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families


class Figures:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __getitem__(self, key: tuple[str, dict[str, str]]) -> float:
        """The sum of the samples of that name that have these labels among theirs; fails when there is none."""
        name, labels = key
        found = [
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, (key, sorted({sample.name for sample in self._samples if sample.name.startswith("treadle_")}))
        return float(sum(found))

    def __contains__(self, name: str) -> bool:
        return any(sample.name == name for sample in self._samples)

    def names(self) -> set[str]:
        return {sample.name for sample in self._samples}

    def labels(self, name: str) -> Iterator[dict[str, str]]:
        """Of every sample of that name."""
        return (dict(sample.labels) for sample in self._samples if sample.name == name)
