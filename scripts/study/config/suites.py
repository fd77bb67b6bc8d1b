"""Suites: named lists of forecasting tasks, read from ``config/suites/{name}.yaml``.

Importing this module is cheap: `fev` is imported by the one function that needs it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from chronos2_attention.checking import Some, Text, Unique, check, checked_dataclass, number, whole
from chronos2_attention.errors import InputError, quote
from study.config.yaml_files import Name, Strict, load_named, unknown

EVERY_TASK = "*"
MOST_STEPS = 10_000_000
Steps = whole(1, MOST_STEPS)
# Fields that a suite may give for all of its tasks at once.
DEFAULTS = ("num_windows", "window_step_size", "min_context_length", "max_context_length")
DEFAULTS += ("target", "generate_univariate_targets_from")


@checked_dataclass
class TaskSpec:
    """One task of a suite; the fields mean what they mean in `fev.Task`.

    Lengths are in steps. None of `initial_cutoff` and `window_step_size` leaves the choice to
    `fev`: non-overlapping windows that end with the series. `generate_univariate_targets_from`
    names the columns to make univariate series of, or is ``"__ALL__"``.

    Tests count tasks of one `source` (by default the data set's name) as one, and series of one
    `cluster` (by default each item its own). Neither changes a forecast.
    """

    name: Name
    dataset: Name
    horizon: Steps
    seasonality: Steps
    num_windows: Steps = 1
    initial_cutoff: whole(-MOST_STEPS, MOST_STEPS) | None = None
    window_step_size: Steps | None = None
    min_context_length: Steps = 1
    max_context_length: Steps | None = None
    target: Text = "target"
    generate_univariate_targets_from: Literal["__ALL__"] | Unique[Text] | None = None
    source: Name | None = field(default=None, repr=False)
    cluster: Name | None = field(default=None, repr=False)

    @property
    def window_step(self) -> int:
        """Steps from one window's cutoff to the next."""
        return self.window_step_size or self.horizon

    @property
    def steps_needed(self) -> int:
        """Fewest steps of a series that has all windows."""
        rolled = (self.num_windows - 1) * self.window_step + self.horizon
        if self.initial_cutoff is None:
            return self.min_context_length + rolled
        if self.initial_cutoff < 0:
            return self.min_context_length - self.initial_cutoff
        return self.initial_cutoff + rolled

    def check_cutoffs(self, where: str) -> None:
        """Raise an `InputError` if windows reach beyond the end of every series."""
        latest = -self.horizon - (self.num_windows - 1) * self.window_step
        if self.initial_cutoff is not None and latest < self.initial_cutoff < 0:
            raise InputError(
                f"task {self.name!r}: initial_cutoff {self.initial_cutoff} leaves no room for "
                f"{self.num_windows} windows of {self.horizon} steps",
                where,
                f"give {latest} or less, or fewer windows",
            )

    def check_length(self, longest: int, where: str) -> None:
        """Raise an `InputError` if not even a series of `longest` steps has all windows."""
        if longest >= self.steps_needed:
            return
        most = self.num_windows - -(-(self.steps_needed - longest) // self.window_step)
        fixed = self.initial_cutoff is not None and self.initial_cutoff < 0
        raise InputError(
            f"task {self.name!r}: {self.num_windows} windows need {self.steps_needed} steps and "
            f"the longest series has {longest}",
            where,
            "give it longer series" if fixed or most < 1 else f"give num_windows={most} or less",
        )


@checked_dataclass
class Suite:
    """A list of tasks, the quantile levels to forecast, and the model it is meant for.

    `pairs` is what a paired test counts as one pair: ``"task"`` or ``"series"``.
    """

    name: Text
    title: Text = field(repr=False)
    description: Text = field(repr=False)
    model: Name
    quantile_levels: Unique[number(gt=0, lt=1)]
    tasks: Some[TaskSpec]
    pairs: Literal["task", "series"] = "task"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets that the tasks need, each once, in order."""
        return tuple(dict.fromkeys(task.dataset for task in self.tasks))

    @property
    def clusters(self) -> dict[str, tuple[str, str | None]]:
        """Each task's source, and the cluster of all its series where it names one."""
        return {task.name: (task.source or task.dataset, task.cluster) for task in self.tasks}

    def task(self, name: str) -> TaskSpec:
        """Return one task; an unknown name is an `InputError` with close matches."""
        tasks = {task.name: task for task in self.tasks}
        if name not in tasks:
            raise unknown("task", name, list(tasks), f"suite {self.name!r}")
        return tasks[name]

    def only(self, names: str | Iterable[str] | None) -> Suite:
        """Return the suite with the named tasks alone, in the suite's order; all without names.

        ``"a:50"`` gives the task 50 windows, and ``"*:50"`` each task that has no number of its
        own here; the star restricts the suite to nothing.
        """
        words = names.split(",") if isinstance(names, str) else names or ()
        windows: dict[str, int | None] = {}
        for word in filter(None, map(str.strip, words)):
            name, colon, count = (part.strip() for part in word.partition(":"))
            if name != EVERY_TASK:
                self.task(name)
            if colon and not re.fullmatch("[1-9][0-9]{0,5}", count):
                raise InputError(
                    f"{quote(count)} is no number of windows",
                    f"{quote(word)} for suite {self.name!r}",
                    "give a whole number from 1 to 999999",
                )
            windows[name] = int(count) if colon else None
        everywhere = windows.pop(EVERY_TASK, None)
        tasks = []
        for task in self.tasks:
            if not windows or task.name in windows:
                count = windows.get(task.name) or everywhere or task.num_windows
                task = replace(task, num_windows=count)
                task.check_cutoffs(f"suite {self.name!r}")
                tasks.append(task)
        return replace(self, tasks=tuple(tasks))


class _Outline(Strict):
    """A suite's file before its tasks have their defaults."""

    model_config = ConfigDict(extra="ignore")

    defaults: dict[Literal[DEFAULTS], Any] = Field(default_factory=dict)
    tasks: Some[dict[str, Any]]


def known_suites(config_dir: str | Path) -> list[str]:
    """Return the names of the suites in ``{config_dir}/suites``, sorted."""
    return sorted(path.stem for path in Path(config_dir, "suites").glob("*.yaml"))


def load_suite(name: str, config_dir: str | Path) -> Suite:
    """Read ``{config_dir}/suites/{name}.yaml``; InputError if there is none, or it does not fit."""
    document, path = load_named("suite", name, Path(config_dir, "suites"))
    outline = check(_Outline, document, path)
    tasks = [{"dataset": task.get("name"), **outline.defaults, **task} for task in outline.tasks]
    document.pop("defaults", None)
    suite = check(Suite, {**document, "tasks": tasks}, path)
    for task, count in Counter(task.name for task in suite.tasks).items():
        if count > 1:
            raise InputError(f"task {task!r} is given twice", path, "rename one of them")
    for task in suite.tasks:
        task.check_cutoffs(path)
    return replace(suite, description=" ".join(suite.description.split()))
