"""Suites: named lists of forecasting tasks, read from ``config/suites/{name}.yaml``.

Importing this module is cheap: `fev` is imported by the one function that needs it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chronos2_attention.errors import InputError
from study.config.yaml_files import load_checked_yaml

if TYPE_CHECKING:
    pass

EVERY_TASK = "*"


@dataclass(frozen=True)
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

    name: str
    dataset: str
    horizon: int
    seasonality: int
    num_windows: int = 1
    initial_cutoff: int | None = None
    window_step_size: int | None = None
    min_context_length: int = 1
    max_context_length: int | None = None
    target: str = "target"
    generate_univariate_targets_from: tuple[str, ...] | str | None = None

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


@dataclass(frozen=True)
class Suite:
    """A list of tasks, the quantile levels to forecast, and the model it is meant for.

    `pairs` is what a paired test counts as one pair: ``"task"`` or ``"series"``.
    """

    name: str
    title: str = field(repr=False)
    description: str = field(repr=False)
    model: str
    quantile_levels: tuple[float, ...]
    tasks: tuple[TaskSpec, ...]
    pairs: str = "task"

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
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
        raise InputError(
            f"unknown task {name!r}", f"suite {self.name!r}", f"known: {', '.join(near)}"
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
            name, colon, number = (part.strip() for part in word.partition(":"))
            if name != EVERY_TASK:
                self.task(name)
            if colon and not (number.isascii() and number.isdigit() and int(number) >= 1):
                raise InputError(
                    f"{number!r} is no number of windows",
                    f"{word!r} for suite {self.name!r}",
                    "give a whole number from 1",
                )
            windows[name] = int(number) if colon else None
        everywhere = windows.pop(EVERY_TASK, None)
        tasks = []
        for task in self.tasks:
            if not windows or task.name in windows:
                number = windows.get(task.name) or everywhere or task.num_windows
                task = replace(task, num_windows=number)
                task.check_cutoffs(f"suite {self.name!r}")
                tasks.append(task)
        return replace(self, tasks=tuple(tasks))


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
    known = known_suites(config_dir)
    if name not in known:
        raise InputError(
            f"unknown suite {name!r}",
            str(Path(config_dir, "suites")),
            f"known: {', '.join(known) or 'none'}",
        )
    path = Path(config_dir, "suites", f"{name}.yaml")
    document = load_checked_yaml(path, "suite")
    defaults = document.get("defaults", {})
    tasks: dict[str, TaskSpec] = {}
    for entry in document["tasks"]:
        fields = {"dataset": entry["name"], **defaults, **entry}
        columns = fields.get("generate_univariate_targets_from")
        if isinstance(columns, list):
            fields["generate_univariate_targets_from"] = tuple(columns)
        task = TaskSpec(**fields)
        if task.name in tasks:
            raise InputError(f"task {task.name!r} is given twice", str(path), "rename one of them")
        task.check_cutoffs(str(path))
        tasks[task.name] = task
    return Suite(
        name=name,
        title=document["title"],
        description=" ".join(document["description"].split()),
        model=document["model"],
        quantile_levels=tuple(document["quantile_levels"]),
        tasks=tuple(tasks.values()),
        pairs=document.get("pairs", "task"),
    )


def feature_of(task: TaskSpec, item_id: str) -> str:
    """Return the feature that a series measures.

    Parameters
    ----------
    task:
        The task of the series.
    item_id:
        As `fev` names it: where it makes univariate series of columns, the
        item's id, an underscore and the column.

    Returns
    -------
    The column where the task makes series of columns (of ``"__ALL__"``, what follows
    the last underscore), the task's name otherwise.

    Raises
    ------
    InputError
        If the series is of none of the task's columns.
    """
    columns = task.generate_univariate_targets_from
    if columns is None:
        return task.name
    if isinstance(columns, str):
        return item_id.rpartition("_")[2]
    found = [column for column in columns if item_id.endswith(f"_{column}")]
    if not found:
        raise InputError(
            f"series {item_id!r} is of none of the columns {', '.join(columns)}",
            f"task {task.name!r}",
            "make the forecasts again",
        )
    return max(found, key=len)
