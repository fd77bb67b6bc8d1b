"""Suites: named lists of forecasting tasks, read from ``config/suites/{name}.yaml``.

Importing this module is cheap: `fev` is imported by the one function that needs it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from chronos2_attention.errors import InputError, quote
from study.config.yaml_files import (
    Name,
    Some,
    Strict,
    Text,
    Unique,
    check,
    checked_dataclass,
    find_named,
    load_yaml,
    number,
    whole,
)

EVERY_TASK = "*"
MOST_STEPS = 10_000_000
Steps = whole(1, MOST_STEPS)
# Fields that a suite may give for all of its tasks at once.
DEFAULTS = (
    "num_windows",
    "window_step_size",
    "min_context_length",
    "max_context_length",
    "target",
    "generate_univariate_targets_from",
)


@checked_dataclass
class TaskSpec:
    """One task of a suite; the fields mean what they mean in `fev.Task`.

    Parameters
    ----------
    name:
        Name of the task, unique in its suite.
    dataset:
        Name in the registry of data sets.
    horizon, seasonality:
        Steps to forecast, and steps in a season (for MASE and Seasonal Naive).
    num_windows, initial_cutoff, window_step_size:
        Rolling evaluation; None leaves the choice to `fev`: non-overlapping
        windows that end with the series.
    min_context_length, max_context_length:
        Fewest steps before a cutoff, and most that a model is given.
    target:
        The target column.
    generate_univariate_targets_from:
        Columns to make univariate series of, or ``"__ALL__"``.
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

    def task(self, name: str) -> TaskSpec:
        """Return one task; an unknown name is an `InputError` with close matches."""
        for task in self.tasks:
            if task.name == name:
                return task
        names = [task.name for task in self.tasks]
        near = difflib.get_close_matches(name[:100], names, n=3, cutoff=0.5) or names
        raise InputError(
            f"unknown task {quote(name)}", f"suite {self.name!r}", f"known: {', '.join(near)}"
        )

    def only(self, names: str | Iterable[str] | None) -> Suite:
        """Return the suite with the named tasks alone, in the suite's order.

        Parameters
        ----------
        names:
            Task names, as ``"a,b"`` or a list; nothing (None, an empty string or
            list) keeps the suite as it is. ``"a:50"`` gives the task 50 windows,
            and ``"*:50"`` each task that has no number of its own here; the star
            restricts the suite to nothing.

        Raises
        ------
        InputError
            If the suite has no task of such a name, a number of windows is not a
            whole number from 1, or windows reach beyond the end of a series.
        """
        if not names:
            return self
        if isinstance(names, str):
            names = names.split(",")
        windows: dict[str, int | None] = {}
        for word in filter(None, map(str.strip, names)):
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

    model_config = ConfigDict(extra="allow")

    name: Literal[None] = None  # the file's own
    defaults: dict[Literal[DEFAULTS], Any] = Field(default_factory=dict)
    tasks: Some[dict[str, Any]]


def known_suites(config_dir: str | Path) -> list[str]:
    """Return the names of the suites in ``{config_dir}/suites``, sorted."""
    return sorted(path.stem for path in Path(config_dir, "suites").glob("*.yaml"))


def load_suite(name: str, config_dir: str | Path) -> Suite:
    """Read ``{config_dir}/suites/{name}.yaml``.

    Raises
    ------
    InputError
        If there is no such suite (the message lists those there are), or the file
        does not fit its schema, names a task twice, or has windows that reach
        beyond the end of a series.
    """
    path = find_named("suite", name, Path(config_dir, "suites"))
    document = load_yaml(path)
    outline = check(_Outline, document, str(path))
    tasks = [{"dataset": task.get("name"), **outline.defaults, **task} for task in outline.tasks]
    document = {key: value for key, value in document.items() if key != "defaults"}
    suite = check(Suite, {**document, "name": name, "tasks": tasks}, str(path))
    names: set[str] = set()
    for task in suite.tasks:
        if task.name in names:
            raise InputError(f"task {task.name!r} is given twice", str(path), "rename one of them")
        names.add(task.name)
        task.check_cutoffs(str(path))
    return replace(suite, description=" ".join(suite.description.split()))
