"""Suites: lists of forecasting tasks, in ``config/suites/{name}.yaml`` or a file that it names."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, Field, model_validator

from chronos2_attention.checking import Many, Some, Text, Unique, checked_dataclass, number, whole
from chronos2_attention.errors import InputError, explained, quote
from study.config.yaml_files import Name, Strict, TaskName, check, load_named, load_yaml, unknown

EVERY_TASK = "*"
MOST_STEPS = 10_000_000
Steps = whole(1, MOST_STEPS)
# Fields that a suite may give for all of its tasks at once.
DEFAULTS = ("num_windows", "window_step_size", "min_context_length", "max_context_length")
DEFAULTS += ("target", "generate_univariate_targets_from", "eval_metric", "extra_metrics")
DEFAULTS += ("known_dynamic_columns", "past_dynamic_columns", "static_columns")
LEVELS = tuple(round(0.1 * step, 1) for step in range(1, 10))
Metric = Text | dict[Text, Any]
Columns = Unique[Text] | tuple[()]
# Columns of a table of tasks that are of its figures.
FIGURES = r"(?:.*_)?(?:SQL|MASE|WAPE|WQL)|num_forecasts|dataset_fingerprint|in_mini"


@checked_dataclass
class TaskSpec:
    """One task of a suite; the fields mean what they mean in `fev.Task`, lengths are in steps.

    Tests count tasks of one `source` (by default the data set's name) as one, and series of one
    `cluster` (by default each item its own). Neither changes a forecast.
    """

    name: TaskName
    dataset: Name
    horizon: Steps
    seasonality: Steps
    num_windows: Steps = 1
    initial_cutoff: whole(-MOST_STEPS, MOST_STEPS) | Text | None = None
    window_step_size: Steps | Text | None = None
    min_context_length: Steps = 1
    max_context_length: Steps | None = None
    target: Text | Unique[Text] = "target"
    generate_univariate_targets_from: Literal["__ALL__"] | Unique[Text] | None = None
    known_dynamic_columns: Columns = ()
    past_dynamic_columns: Columns = ()
    static_columns: Columns = ()
    eval_metric: Metric = "MASE"
    extra_metrics: tuple[Metric, ...] | list[Metric] = ()
    source: Name | None = field(default=None, repr=False)
    cluster: Name | None = field(default=None, repr=False)

    @model_validator(mode="after")
    def _columns_once(self) -> TaskSpec:
        if self.generate_univariate_targets_from and not isinstance(self.target, str):
            what = f"task {self.name!r} has several targets to be forecast together and others"
            mend = "give one of 'target' (a list) and 'generate_univariate_targets_from'"
            raise InputError(f"{what} to be made univariate", mend=mend)
        dated = isinstance(self.initial_cutoff, str)
        if isinstance(self.window_step_size, str) and not dated:
            what = f"task {self.name!r}: window_step_size {quote(self.window_step_size)}"
            raise InputError(f"{what} needs a date as initial_cutoff", mend="give steps")
        used = Counter((*self.targets, *self.covariates, *self.static_columns))
        if twice := [name for name, count in used.items() if count > 1]:
            what = f"task {self.name!r} uses column {quote(twice[0])} twice"
            raise InputError(what, mend="name it as a target, a covariate or a static column")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def covariates(self) -> tuple[str, ...]:
        """The dynamic columns that are not forecast."""
        return (*self.known_dynamic_columns, *self.past_dynamic_columns)

    @property
    def kind(self) -> str:
        """What group attention may find within an item."""
        if self.covariates:
            return "covariates"
        return "several targets" if len(self.targets) > 1 else "neither"

    @property
    def window_step(self) -> int:
        """Steps from one window's cutoff to the next, where they are not dates."""
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
        if isinstance(self.initial_cutoff, str):
            return
        latest = -self.horizon - (self.num_windows - 1) * self.window_step
        if self.initial_cutoff is not None and latest < self.initial_cutoff < 0:
            what = f"task {self.name!r}: initial_cutoff {self.initial_cutoff} leaves no room for "
            what += f"{self.num_windows} windows of {self.horizon} steps"
            raise InputError(what, where, f"give {latest} or less, or fewer windows")

    def check_length(self, longest: int, where: str) -> None:
        """Raise an `InputError` if not even a series of `longest` steps has all windows."""
        if isinstance(self.initial_cutoff, str) or longest >= self.steps_needed:
            return
        most = self.num_windows - -(-(self.steps_needed - longest) // self.window_step)
        fixed = self.initial_cutoff is not None and self.initial_cutoff < 0
        what = f"task {self.name!r}: {self.num_windows} windows need {self.steps_needed} steps and "
        what += f"the longest series has {longest}"
        mend = "give it longer series" if fixed or most < 1 else f"give num_windows={most} or less"
        raise InputError(what, where, mend)


@checked_dataclass
class Suite:
    """A list of tasks, the quantile levels to forecast, and the model it is meant for.

    `pairs` is what a test counts as one pair; `batch_size` goes before the setting; `published` is
    a table of `config/reference`.
    """

    name: Text
    title: Text = field(repr=False)
    description: Text = field(repr=False)
    model: Name
    quantile_levels: Unique[number(gt=0, lt=1)]
    tasks: Some[TaskSpec]
    pairs: Literal["task", "series"] = "task"
    batch_size: whole(1, 10**6) | None = None
    published: Text | None = field(default=None, repr=False)

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
        """Keep the named tasks; ``a:50`` gives one 50 windows, ``*:50`` each without a number."""
        words = names.split(",") if isinstance(names, str) else names or ()
        windows: dict[str, int | None] = {}
        for word in filter(None, map(str.strip, words)):
            name, colon, count = (part.strip() for part in word.partition(":"))
            if name != EVERY_TASK:
                self.task(name)
            if colon and not re.fullmatch("[1-9][0-9]{0,5}", count):
                what = f"{quote(count)} is no number of windows"
                where = f"{quote(word)} for suite {self.name!r}"
                raise InputError(what, where, "give a whole number from 1 to 999999")
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
    if "benchmark" in document:
        document = _of_benchmark(document, path)
        path = str(Path(path).parent / document.pop("benchmark"))
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


class _Benchmark(Strict):
    """What a suite says beside the file that lists its tasks."""

    model_config = ConfigDict(extra="allow")

    benchmark: Text
    tasks: Literal[None] = None  # the file's
    subset: Text | None = None  # the column of a CSV that is True for the tasks to take


class _FevTask(Strict):
    """What a task of a benchmark of fev says otherwise than one of a suite."""

    model_config = ConfigDict(extra="allow")

    dataset_path: Text = "autogluon/fev_datasets"
    dataset_config: Text | None = None
    task_name: Text | None = None
    horizon: Steps = 1
    quantile_levels: Many[number(gt=0, lt=1)] = ()
    id_column: Literal["id"] = "id"
    timestamp_column: Literal["timestamp"] = "timestamp"

    def spelled(self) -> dict[str, Any]:
        """Spell it as one of a suite; a data set of the hub is named as `find_spec` takes it."""
        path, config = self.dataset_path, self.dataset_config
        dataset = Path(path).stem if config is None else f"{path}/{config}".replace("/", "--")
        left = {k: v for k, v in self.model_extra.items() if not re.fullmatch(FIGURES, k)}
        name = self.task_name or config or dataset
        return {"name": name, "dataset": dataset, "horizon": self.horizon, "seasonality": 1, **left}


class _FevTasks(Strict):
    model_config = ConfigDict(extra="ignore")

    tasks: Some[_FevTask]


def _of_benchmark(document: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a suite with the tasks of the file that it names, relative to its own folder."""
    outline = check(_Benchmark, document, path)
    file = Path(path).parent / outline.benchmark
    if file.suffix == ".csv":
        mend = "give a CSV file with a task a row"
        with explained("no table of tasks", file, mend, (OSError, ValueError, csv.Error)):
            rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        if outline.subset is not None:
            rows = [row for row in rows if row.get(outline.subset) == "True"]
        if not rows:
            raise InputError("no task to take", str(file), "see its rows, and 'subset'")
        listed = {"tasks": [{k: _cell(k, v) for k, v in row.items() if v} for row in rows]}
    else:
        listed = load_yaml(file)
    tasks = check(_FevTasks, listed, str(file)).tasks
    levels = {tuple(sorted(task.quantile_levels)) or LEVELS for task in tasks}
    if len(levels) > 1:
        raise InputError("its tasks differ in quantile_levels", str(file), "make a suite of each")
    spelled = [task.spelled() for task in tasks]
    of_name = Counter(task["name"] for task in spelled)
    for task in spelled:  # to fev, tasks of one data set may share its name
        task["name"] += f"/{task['horizon']}" if of_name[task["name"]] > 1 else ""
    defaults = {"title": document["name"], "description": f"Tasks of {file.name}."}
    defaults |= {"model": "chronos-2", "quantile_levels": list(*levels)}
    own = {key: value for key, value in document.items() if key != "subset"}
    return {**defaults, **own, "tasks": spelled}


def _cell(name: str, text: str) -> Any:
    """Read a cell of a CSV file: a number, a list, or text, such as a date."""
    if name in ("task_name", "dataset_config", "dataset_path"):
        return text
    value = yaml.safe_load(text)
    return value if isinstance(value, bool | int | float | list) else text
