"""A study's name: a suite, or a suite and a model as ``suite@model``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from study.config.models import ModelSpec, load_model_spec
from study.config.suites import Suite, load_suite


class Study(NamedTuple):
    """A suite, restricted to the tasks asked for, run with a model: its own, or one named.

    What no result depends on is left out of the `repr` of suites and models: Snakemake takes a
    change of a named tuple's `repr` for a reason to make results anew, that of a dataclass not.
    """

    name: str
    suite: Suite
    model: ModelSpec

    def data_paths(self, files: Iterable[str]) -> dict[str, Path]:
        """Return each data set's file, of files that stand in the order of `Suite.datasets`."""
        return dict(zip(self.suite.datasets, map(Path, files), strict=True))

    @property
    def baseline_rel_mase_max(self) -> float:
        """Gate 3: the baseline's relative MASE must lie below this."""
        return self.model.baseline_rel_mase_max.get(self.suite.name, 1.0)


def load_study(name: str, config_dir: Path, only: str | list[str] | None = None) -> Study:
    """Read a study by its name, with the tasks that `Suite.only` leaves of its suite."""
    suite_name, _, model_name = name.partition("@")
    suite = load_suite(suite_name, config_dir).only(only)
    model = load_model_spec(model_name if "@" in name else suite.model, config_dir)
    return Study(name=name, suite=suite, model=model)
