"""Inputs that cannot be used: each gets one line that says what, where and how to mend it.

The cases run the code that the rules run. Those of the last part go through Snakemake's command
line. All lines are printed as a table at the end.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.torch import load_file, save_file
from seen import seen
from small_study import LEVELS, small_study

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline, InputError
from study.attention.time_mass import probe_suite
from study.config.datasets import HubDataset, LocalDataset, find_spec, load_registry
from study.config.models import ModelSpec, load_model_spec
from study.config.settings import settle
from study.config.study import Study, load_study
from study.config.suites import Suite, TaskSpec, load_suite
from study.config.targets import TargetCheck
from study.data.checkpoints import fetch_model
from study.data.fetch import fetch, write_dataset
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import forecast_variants
from study.forecasts.files import ForecastWriter
from study.jobs.files import atomic_path

CASES: dict[str, tuple[Callable, tuple[str, ...]]] = {}


def case(name: str, *words: str):
    """Register a function of (folder, repository) that must raise an `InputError` with `words`."""

    def register(function: Callable) -> Callable:
        assert name not in CASES
        CASES[name] = (function, words)
        return function

    return register


# --- settings -----------------------------------------------------------------------------------


def setting(name: str, *words: str, **change) -> None:
    """A case of the configuration with some keys changed: ``forecast__device`` is nested."""

    @case(name, *words, "config/config.yaml and --config")
    def run(folder: Path, repo: Path) -> None:
        config = yaml.safe_load((repo / "config" / "config.yaml").read_text())
        for key, value in change.items():
            *outer, last = key.split("__")
            place = config
            for part in outer:
                place = place[part]
            place[last] = value
        settle(config)


setting("config: unknown key", "unknown key 'radius'", radius=8)
setting("config: unknown key in a section", "forecast", "'devices'", forecast__devices="cpu")
setting("config: wrong type", "forecast.batch_size", "'many'", forecast__batch_size="many")
setting("config: section that is a number", "forecast: 3 should be a mapping", forecast=3)
setting("config: below its range", "forecast.batch_size", "at least 1", forecast__batch_size=0)
setting("config: download of no size", "network.max_gb", network__max_gb=0)
setting("config: rate that is no number", "network.min_kb_per_s", network__min_kb_per_s="slow")
setting("config: negative radius", "radii[0]", "-3", radii=[-3])
setting("config: radius that is no integer", "radii[1]", "2.5", radii=[8, 2.5])
setting("config: radius twice", "radii", "8 is given twice", radii=[8, 8])
setting("config: unknown device", "forecast.device", "'gpu'", forecast__device="gpu")
setting("config: unknown dtype", "forecast.dtype", "'float8'", forecast__dtype="float8")
setting("config: unknown backend", "sparse.backend", "'fast'", sparse__backend="fast")
setting("config: context of 0", "forecast.context_length", "0", forecast__context_length=0)
setting("config: level above 1", "statistics.alpha", "1.5", statistics__alpha=1.5)
setting("config: seed below 0", "forecast.seed", "-1", forecast__seed=-1)
setting("config: no study to run", "run", run=[])
setting("config: mirror that is a number", "mirror", "3", mirror=3)


# --- names --------------------------------------------------------------------------------------


@case("name: unknown suite", "unknown suite 'nosuch'", "known:", "demo")
def _(folder, repo):
    load_study("nosuch", repo / "config")


@case("name: suite outside its folder", "unknown suite '../models/nano'")
def _(folder, repo):
    load_study("../models/nano", repo / "config")


@case("name: unknown model", "unknown model 'nosuch'", "nano")
def _(folder, repo):
    load_study("demo@nosuch", repo / "config")


@case("name: model outside its folder", "unknown model '../suites/demo'")
def _(folder, repo):
    load_study("demo@../suites/demo", repo / "config")


@case("name: unknown task", "unknown task 'tailor'", "taylor")
def _(folder, repo):
    load_study("demo", repo / "config", "tailor")


@case("name: unknown variant", "sparse_rx")
def _(folder, repo):
    AttentionVariant.parse("sparse_rx")


@case("name: variant with a path in it", "sparse_r8/../x")
def _(folder, repo):
    AttentionVariant.parse("sparse_r8/../x")


@case("name: unknown data set", "unknown data set 'ETTx'", "ETTh")
def _(folder, repo):
    find_spec(load_registry(repo / "config" / "datasets.yaml"), "ETTx")


@case("name: result outside results/", "'..'", "results/models/../config.json")
def _(folder, repo):
    TargetCheck([], repo / "config", None).file("results/models/../config.json")


@case("name: result of an unknown model", "unknown model 'nosuch'")
def _(folder, repo):
    TargetCheck(["results/models/{model}.json"], repo / "config", None).file(
        "results/models/nosuch.json"
    )


# --- files of the configuration -----------------------------------------------------------------

SUITE = {
    "title": "T",
    "description": "D",
    "model": "nano",
    "quantile_levels": [0.1, 0.5, 0.9],
    "tasks": [{"name": "a", "horizon": 4, "seasonality": 1}],
}


def suite_case(name: str, *words: str, text: str | bytes = "", **change) -> None:
    @case(name, *words, "mine.yaml")
    def run(folder: Path, repo: Path) -> None:
        path = folder / "suites" / "mine.yaml"
        path.parent.mkdir()
        content = text or yaml.safe_dump({**SUITE, **change})
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        load_suite("mine", folder)


TASK = SUITE["tasks"][0]
suite_case("suite: malformed YAML", "not readable as YAML", "line 2", text="title: T\ntasks: ]\n")
suite_case("suite: not UTF-8", "not readable as YAML", text=b"title: \xff\xfe")
suite_case("suite: empty file", "None should be a mapping", text="# nothing\n")
suite_case("suite: unknown key", "'windows'", windows=3)
suite_case("suite: horizon of 0", "tasks[0].horizon", tasks=[{**TASK, "horizon": 0}])
suite_case("suite: task twice", "'a' is given twice", tasks=[TASK, TASK])
suite_case("suite: task named by a path", "tasks[0].name", tasks=[{**TASK, "name": "../a"}])
suite_case("suite: quantile level of 1", "quantile_levels[1]", quantile_levels=[0.5, 1.0])
suite_case(
    "suite: windows beyond the series' end",
    "leaves no room",
    tasks=[{**TASK, "num_windows": 3, "initial_cutoff": -5}],
)


@case("suite: data set that is not registered", "unknown data set 'nowhere'")
def _(folder, repo):
    shutil.copytree(repo / "config", folder / "config")
    suite = {**SUITE, "tasks": [{**TASK, "dataset": "nowhere"}]}
    (folder / "config/suites/mine.yaml").write_text(yaml.safe_dump(suite))
    TargetCheck([], folder / "config", None).study("mine")


@case("registry: data set twice", "'a' is given twice", "line 3")
def _(folder, repo):
    path = folder / "datasets.yaml"
    path.write_text("datasets:\n  a: {source: hub}\n  a: {source: url}\n")
    load_registry(path)


@case("registry: file outside the mirror", "files[0].file", "../x.csv")
def _(folder, repo):
    file = {"item": "x", "file": "../x.csv", "url": "https://a.b/x", "sha256": "0" * 64}
    entry = {"source": "url", "folder": "f", "timestamp": "t", "targets": ["y"], "files": [file]}
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump({"datasets": {"x": entry}}))
    load_registry(path)


@case("model: hub without a revision", "key 'revision' is missing", "mine.yaml")
def _(folder, repo):
    path = folder / "models" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump({"title": "T", "source": "hub", "repo": "a/b"}))
    load_model_spec("mine", folder)


# --- paths --------------------------------------------------------------------------------------


def hub_data(folder: Path, mirror: Path) -> None:
    save(fetch(HubDataset("m", repo="a/b", config="m"), mirror=mirror), folder)


def save(fetched, folder: Path) -> None:
    write_dataset(*fetched, folder / "out" / "d.parquet")


@case("path: mirror that is absent", "no such directory", "absent", "mirror")
def _(folder, repo):
    hub_data(folder, folder / "absent")


@case("path: mirror that is a file", "no such directory", "mirror=")
def _(folder, repo):
    (folder / "file").touch()
    hub_data(folder, folder / "file")


@case("path: mirror that is absent, for a model", "no such directory", "absent")
def _(folder, repo):
    spec = ModelSpec("m", "M", "hub", repo="a/b", revision="main")
    fetch_model(spec, folder / "out", repo_root=repo, mirror=folder / "absent")


@case("path: data set's file is absent", "'d' has no file", "absent.parquet")
def _(folder, repo):
    fetch(LocalDataset("d", path=str(folder / "absent.parquet")))


@case("path: data set's file is a folder", "'d' has no file", "some.parquet")
def _(folder, repo):
    (folder / "some.parquet").mkdir()
    fetch(LocalDataset("d", path=str(folder / "some.parquet")))


# --- series -------------------------------------------------------------------------------------


def days(*numbers: int) -> list[pd.Timestamp]:
    return [pd.Timestamp("2020-01-01") + pd.Timedelta(days=number) for number in numbers]


def series_case(name: str, *words: str, targets: tuple[str, ...] = (), **columns) -> None:
    """A case of a Parquet file of two series, the second with other cells: ``target=[1, 2]``."""

    @case(name, *words, "'d'")
    def run(folder: Path, repo: Path) -> None:
        good = {"id": "a", "timestamp": days(0, 1, 2), "target": [1.0, 2.0, 3.0]}
        bad = {**good, "id": "b", **columns}
        table = pa.table(
            {key: [good[key], bad[key]] for key in good if bad[key] is not ...},
        )
        path = folder / "d.parquet"
        pq.write_table(table, path)
        save(fetch(LocalDataset("d", path=str(path), targets=targets or None)), folder)


NAN, INF = float("nan"), float("inf")
series_case("series: empty", "'b' has 0 observations", timestamp=[], target=[])
series_case("series: one point", "'b' has 1 observations", timestamp=days(0), target=[1.0])
series_case("series: all NaN", "'b' has only missing values", target=[NAN, NAN, NAN])
series_case("series: infinite value", "'b' has an infinite value", target=[1.0, INF, 2.0])
series_case("series: id twice", "'a' occurs more than once", id="a")
series_case("series: row without an id", "without an id", id=None)
series_case("series: unsorted timestamps", "2020-01-02", "after", timestamp=days(0, 2, 1))
series_case("series: timestamp twice", "keep one", timestamp=days(0, 1, 1))
series_case("series: irregular timestamps", "'b' has irregular", timestamp=days(0, 1, 5))
series_case("series: empty timestamp", "'b' has an empty", timestamp=[*days(0), None, *days(2)])
series_case("series: timestamps and values differ in number", "'b' has 3", target=[1.0, 2.0])
series_case("series: no list of values", "without a list", target=None)
series_case("columns: unknown target", "no column 'sales'", "target", targets=("sales",))
series_case("columns: no id", "no column 'id'", id=...)
series_case("columns: no timestamp", "no column 'timestamp'", timestamp=...)
series_case("columns: no target", "no target column", target=...)


@case("columns: text as target", "no target column", "'d'")
def _(folder, repo):
    table = pa.table({"id": ["a"], "timestamp": [days(0, 1, 2)], "target": [["x", "y", "z"]]})
    pq.write_table(table, folder / "d.parquet")
    fetch(LocalDataset("d", path=str(folder / "d.parquet")))


@case("columns: text as timestamps", "column 'timestamp' cannot be read", "'d'")
def _(folder, repo):
    table = pa.table({"id": ["a"], "timestamp": [["mon", "tue"]], "target": [[1.0, 2.0]]})
    pq.write_table(table, folder / "d.parquet")
    fetch(LocalDataset("d", path=str(folder / "d.parquet")))


@case("columns: a row an observation", "where a list a series is expected", "'recipe'")
def _(folder, repo):
    frame = pd.DataFrame({"id": "a", "timestamp": days(0, 1, 2), "target": [1.0, 2.0, 3.0]})
    frame.to_parquet(folder / "d.parquet")
    spec = LocalDataset("d", path=str(folder / "d.parquet"), targets=("target",))
    fetch(spec)


@case("file: Parquet without series", "holds no series", "'d'")
def _(folder, repo):
    kinds = {"id": pa.string(), "timestamp": pa.list_(pa.timestamp("us"))}
    schema = pa.schema({**kinds, "target": pa.list_(pa.float64())})
    pq.write_table(schema.empty_table(), folder / "d.parquet")
    fetch(LocalDataset("d", path=str(folder / "d.parquet")))


@case("file: damaged Parquet", "cannot be read as Parquet", "d.parquet", "'d'")
def _(folder, repo):
    (folder / "d.parquet").write_bytes(b"PAR1 and then nothing")
    fetch(LocalDataset("d", path=str(folder / "d.parquet")))


def csv_case(name: str, *words: str, text: str | bytes, freq: str = "", **recipe) -> None:
    """A case of a CSV file as the registry describes it."""

    @case(name, *words, "'d'")
    def run(folder: Path, repo: Path) -> None:
        path = folder / "d.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        keys = {"time": {"column": "day"}, "values": ["y"], **recipe}
        entry = {"source": "local", "path": str(path), "recipe": keys}
        entry |= {"freq": freq} if freq else {}
        registry = folder / "datasets.yaml"
        registry.write_text(yaml.safe_dump({"datasets": {"d": entry}}))
        save(fetch(load_registry(registry)["d"]), folder)


ROWS = "day,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n"
csv_case("CSV: empty file", "cannot be read as CSV", "d.csv", text="")
csv_case("CSV: not text", "cannot be read as CSV", "d.csv", text=b"\xff\xfe\x00\x81,\n")
csv_case("CSV: rows of unequal length", "cannot be read as CSV", text=ROWS + "1,2,3,4\n")
csv_case("CSV: only a header", "no observation", text="day,y\n")
csv_case("CSV: unknown column", "no column 'z'", "['day', 'y']", text=ROWS, values=["z"])
csv_case("CSV: value that is no number", "'y' is not numeric", text=ROWS + "2020-01-04,n/o\n")
csv_case("CSV: time that is none", "'day' cannot be read", text=ROWS.replace("-01-01", "-13-01"))
csv_case("CSV: row without a time", "empty time", text=ROWS + ",4\n")
csv_case("CSV: two rows of one time", "two rows at 2020-01-03", text=ROWS + "2020-01-03,4\n")
csv_case("CSV: off the grid", "not on the grid", text=ROWS, freq="MS")
csv_case("CSV: rows absent", "1 of 5 rows are absent", text=ROWS + "2020-01-05,4\n", freq="D")
csv_case("CSV: unknown frequency", "'fortnight' is no frequency", text=ROWS, freq="fortnight")
csv_case(
    "CSV: start that is no time", "'start' is no time", text=ROWS, freq="D", time={"start": "soon"}
)


# --- tasks and models ---------------------------------------------------------------------------


def one_task(folder: Path, **fields) -> tuple[Study, dict[str, Path]]:
    study, paths = small_study(folder)
    fields = {"name": "short", "dataset": "short", "horizon": 5, "seasonality": 1} | fields
    suite = Suite("small", "S", "D", "random", LEVELS, (TaskSpec(**fields),))
    return Study("small", suite, study.model), paths


def forecast(folder: Path, context_length: int | None = None, **fields) -> None:
    study, paths = one_task(folder, **fields)
    pipeline = Chronos2VariantPipeline.from_pretrained(folder / "checkpoint")
    with ForecastWriter(folder / "forecasts", LEVELS, {}) as writer:
        settings = ForecastSettings(8, context_length)
        forecast_variants([(pipeline, writer)], study, paths, settings)


@case("task: horizon longer than the series", "all series of task 'short' are too short", "horizon")
def _(folder, repo):
    forecast(folder, horizon=50)


@case("task: target that the data lack", "'short'", "demand")
def _(folder, repo):
    forecast(folder, target="demand")


@case("model: context beyond its limit", "5000", "512", "forecast.context_length")
def _(folder, repo):
    forecast(folder, context_length=5000)


@case("model: context beyond its limit, in the probe", "5000", "512")
def _(folder, repo):
    study, paths = one_task(folder)
    probe_suite(
        Chronos2VariantPipeline.from_pretrained(folder / "checkpoint"),
        study,
        paths,
        ForecastSettings(8, 5000),
        radii=[8],
        max_windows_per_task=1,
        max_series_per_window=1,
        exclude_reg_query=False,
    )


def checkpoint_case(name: str, *words: str):
    """A case of a local checkpoint that the decorated function spoils."""

    def register(spoil: Callable[[Path], None]) -> Callable:
        @case(name, *words, "checkpoint")
        def run(folder: Path, repo: Path) -> None:
            spoil(folder / "checkpoint")
            spec = ModelSpec("mine", "Mine", "local", path=str(folder / "checkpoint"))
            with atomic_path(folder / "out" / "mine") as temporary:
                fetch_model(spec, temporary, repo_root=repo, mirror=None)

        return spoil

    return register


def spoil_tensors(folder: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


NORM = "encoder.final_layer_norm.weight"


@checkpoint_case("checkpoint: tensor missing", f"missing '{NORM}'")
def _(folder):
    spoil_tensors(folder, lambda tensors: tensors.pop(NORM))


@checkpoint_case("checkpoint: tensor of another shape", f"'{NORM}' has shape (31,)")
def _(folder):
    spoil_tensors(folder, lambda tensors: tensors.update({NORM: tensors[NORM][1:].clone()}))


@checkpoint_case("checkpoint: tensor of NaN", f"'{NORM}' is not finite")
def _(folder):
    spoil_tensors(folder, lambda tensors: tensors[NORM].fill_(NAN))


@checkpoint_case("checkpoint: pickled weights only", "pickled weights 'pytorch_model.bin'")
def _(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


@checkpoint_case("checkpoint: damaged safetensors", "unreadable weights")
def _(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


@checkpoint_case("checkpoint: no config.json", "no config.json")
def _(folder):
    (folder / "config.json").unlink()


@checkpoint_case("checkpoint: config.json that is no JSON", "not a JSON file")
def _(folder):
    (folder / "config.json").write_text("{")


@checkpoint_case("checkpoint: of another model", "no chronos_config")
def _(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))


@checkpoint_case("checkpoint: folder that is empty", "no config.json")
def _(folder):
    shutil.rmtree(folder)
    folder.mkdir()


# --- the tests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_one_line_says_what_where_and_the_mend(name, tmp_path, repo_root, checkpoint_dir):
    action, words = CASES[name]
    shutil.copytree(checkpoint_dir, tmp_path / "checkpoint")
    with pytest.raises(InputError) as caught:
        action(tmp_path, repo_root)
    error, text = caught.value, str(caught.value)
    seen("any bad input", name, text.replace(str(tmp_path), "TMP").replace(str(repo_root), "REPO"))
    assert "\n" not in text
    assert len(text) < 700
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    assert error.mend, f"no mend in: {text}"
    assert error.where or "'" in error.what, f"no place in: {text}"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_constant_series_is_forecast_and_left_out_of_mase(tmp_path, checkpoint_dir):
    """Sound input, unlike the cases above: `fev` leaves it out of the mean as well."""
    from study.evaluation.scores import score_files
    from study.forecasts.slices import task_slices

    stamps = pd.date_range("2020-01-01", periods=40, freq="D")
    walk = np.random.default_rng(0).standard_normal(40).cumsum()
    found = {}
    for name, series in {"with": {"a": walk, "b": np.ones(40)}, "without": {"a": walk}}.items():
        folder = tmp_path / name
        folder.mkdir()
        shutil.copytree(checkpoint_dir, folder / "checkpoint")
        frame = pd.DataFrame(
            [{"id": key, "timestamp": list(stamps), "target": y} for key, y in series.items()]
        )
        frame.to_parquet(folder / "raw.parquet")
        table, provenance = fetch(LocalDataset("d", path=str(folder / "raw.parquet")))
        path, _ = write_dataset(table, provenance, folder / "d.parquet")
        task = TaskSpec("d", "d", 5, 1)
        suite = Suite("s", "S", "D", "random", LEVELS, (task,))
        study = Study("s", suite, ModelSpec("random", "R", "random"))
        pipeline = Chronos2VariantPipeline.from_pretrained(folder / "checkpoint")
        metadata = {"study": "s", "variant": "full", "model": "random"}
        with ForecastWriter(folder / "f.parquet", LEVELS, metadata) as writer:
            forecast_variants([(pipeline, writer)], study, {"d": path}, ForecastSettings(8))
        forecasts = pq.read_table(folder / "f.parquet")
        assert np.isfinite(np.concatenate(forecasts["predictions"].to_pylist())).all()
        parts = task_slices(task, suite, path)
        found[name] = score_files(parts, (folder / "f.parquet", folder / "s.parquet"))[0]
    assert found["with"].loc[0, "MASE"] == pytest.approx(found["without"].loc[0, "MASE"])
    assert found["with"].loc[0, "num_forecasts"] == 2


# --- through the command line -------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(repo_root, checkpoint_dir, tmp_path_factory):
    """A copy of the workflow with data sets, suites and models of one's own, most of them bad."""
    folder = tmp_path_factory.mktemp("own")
    for part in ("workflow", "scripts", "config", "envs"):
        ignored = shutil.ignore_patterns("*.pyc", "__pycache__")
        shutil.copytree(repo_root / part, folder / part, ignore=ignored)
    good = {"id": "a", "timestamp": days(0, 1, 2), "target": [1.0, 2.0, 3.0]}
    tables = {
        "fine": good,
        "constant": {**good, "target": [5.0, 5.0, 5.0]},
        "all_missing": {**good, "target": [NAN, NAN, NAN]},
        "infinite": {**good, "target": [1.0, INF, 3.0]},
        "one_point": {"id": "a", "timestamp": days(0), "target": [1.0]},
        "unsorted": {**good, "timestamp": days(2, 1, 0)},
    }
    for name, row in tables.items():
        pq.write_table(pa.table({k: [v] for k, v in row.items()}), folder / f"{name}.parquet")
    (folder / "damaged.parquet").write_bytes(b"PAR1")
    registry = copy.deepcopy(yaml.safe_load((folder / "config/datasets.yaml").read_text()))
    for name in (*tables, "damaged", "absent"):
        path = str(folder / f"{name}.parquet")
        registry["datasets"][name] = {"source": "local", "path": path}
    (folder / "config/datasets.yaml").write_text(yaml.safe_dump(registry))
    shutil.copytree(checkpoint_dir, folder / "pickled")
    (folder / "pickled/model.safetensors").rename(folder / "pickled/pytorch_model.bin")
    entry = {"title": "P", "source": "local", "path": "pickled"}
    (folder / "config/models/pickled.yaml").write_text(yaml.safe_dump(entry))
    (folder / "config/suites/broken.yaml").write_text("title: ]\n")
    suite = {**SUITE, "tasks": [{**TASK, "name": "nowhere"}]}
    (folder / "config/suites/lost.yaml").write_text(yaml.safe_dump(suite))
    return folder


def command_line(own: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "1"),
            *("--snakefile", str(own / "workflow/Snakefile"), "--directory", str(folder)),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},
        timeout=300,
        check=False,
    )


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "nosuch=1", "--", "results/demo_validity.csv"], ("'nosuch'", "--config")),
        (["--config", "forecast={device: gpu}", "--", "all"], ("forecast.device", "'gpu'")),
        (["--config", "radii=...", "--", "all"], ("radii[0]: '...'", "whole number")),
        (["--config", "radii=[8.0]", "--", "all"], ("radii[0]: 8.0", "whole number")),
        (["--config", "statistics={alpha: .nan}", "--", "all"], ("statistics.alpha: '.nan'",)),
        (["results/broken_validity.csv"], ("not readable as YAML", "broken.yaml")),
        (["results/lost_validity.csv"], ("unknown data set 'nowhere'",)),
        (["results/models/../../x.json"], ("'..'", "results/models/../../x.json")),
    ],
    ids=[
        *("unknown key", "unknown device", "dots", "decimals", "NaN"),
        *("malformed suite", "unregistered data", "path"),
    ],
)
def test_the_command_line_stops_before_any_job(own, tmp_path, arguments, words):
    done = command_line(own, tmp_path, *arguments)
    lines = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(lines)) == (1, 1), done.stdout
    seen("any bad input", f"$ snakemake {' '.join(arguments)}", lines[0].replace(str(own), "REPO"))
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.glob("results/**/*.*"))


BAD_TARGETS = {
    "data/all_missing.parquet": "only missing values",
    "data/infinite.parquet": "infinite value",
    "data/one_point.parquet": "1 observations",
    "data/unsorted.parquet": "after",
    "data/damaged.parquet": "cannot be read as Parquet",
    "data/absent.parquet": "has no file",
    "models/pickled.json": "pickled weights",
}


@pytest.mark.workflow
def test_jobs_with_bad_data_fail_with_a_line_each_and_write_nothing(own, tmp_path):
    good = [f"results/data/{name}.parquet" for name in ("fine", "constant")]
    bad = [f"results/{name}" for name in BAD_TARGETS]
    done = command_line(own, tmp_path, "--keep-going", *good, *bad)
    assert done.returncode == 1, done.stdout
    printed = (line.partition(" ERROR ")[2] for line in done.stdout.splitlines())
    errors = sorted({line for line in printed if line})
    assert len(errors) == len(bad), done.stdout
    for name, word in BAD_TARGETS.items():
        (line,) = [line for line in errors if word in line]
        seen("any bad input", f"$ snakemake results/{name}", line.replace(str(own), "REPO"))
    assert "Traceback" not in done.stdout
    left = {path.name for path in (tmp_path / "results").glob("[dm]*/**/*") if path.is_file()}
    assert left == {"fine.parquet", "fine.json", "constant.parquet", "constant.json"}


def test_there_are_enough_cases():
    """At least forty without the command line; the table at the end of the run lists them."""
    assert len(CASES) >= 40
