"""What a run survives: kills, a full disk, read-only results, damaged files, lack of memory."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from chronos2_attention import InputError
from study.jobs.files import atomic_path, damage, whole_files
from study.jobs.script import explain

STUDY = "demo@nano-random"
DATA = "results/data/us_macro.parquet"
TARGETS = [f"results/{STUDY}_ttest_r8.csv", f"results/{STUDY}_mass_summary.csv"]
# Files that hold times of a clock: of them, the columns that hold none must agree.
TIMED = [f"results/{STUDY}_ttest_r8.csv", f"results/{STUDY}_perf_compare_r8.csv"]
NOT_COMPARED = ("logs", "benchmarks", "efficiency")
KILLS = 10
SEED = 20261123


class Run:
    """Snakemake in a folder of its own, on two small tasks with random weights."""

    def __init__(self, repo_root: Path, folder: Path) -> None:
        self.folder = folder
        self.command = [
            *(sys.executable, "-m", "snakemake"),
            *("--snakefile", str(repo_root / "workflow" / "Snakefile")),
            *("--directory", str(folder), "--cores", "2"),
            *("--set-threads", *(f"{rule}=1" for rule in RULES_WITH_THREADS)),
        ]

    def __call__(self, *targets: str, options=(), environment=None) -> subprocess.CompletedProcess:
        """Run to the end; the output is in `stdout`."""
        return subprocess.run(
            [*self.command, *options, "--config", "only=us_macro,prices", "--", *targets],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
            timeout=600,
            check=False,
        )

    def killed(self, seconds: float, log: Path, *targets: str, options=()) -> bool:
        """Kill the run and all its jobs at once after some time; False if it ended before."""
        with open(log, "w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [*self.command, *options, "--config", "only=us_macro,prices", "--", *targets],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                assert process.wait(seconds) == 0, log.read_text()
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                assert not living(self.folder)
                return True
        return False


RULES_WITH_THREADS = ("forecast", "probe_attention", "measure_efficiency")


def living(folder: Path) -> list[str]:
    """Return the processes that work in a folder and are not dead yet after a moment."""
    for _ in range(50):
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "cwd") == str(folder):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:  # ended meanwhile
                continue
        if not found:
            break
        time.sleep(0.1)
    return found


def error_lines(output: str) -> set[str]:
    """Return the distinct errors of a run's output, without their time of day."""
    return set(re.findall(r"^(?:\S+ ERROR |error: )(.*)", output, flags=re.M))


def files(folder: Path) -> dict[str, Path]:
    """Return the files of a results folder that another run must make again byte for byte."""
    found = {}
    for path in sorted((folder / "results").rglob("*")):
        name = path.relative_to(folder).as_posix()
        parts = Path(name).parts[1:]
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and parts[0] not in NOT_COMPARED:
            found[name] = path
    return found


def same(name: str, path: Path, reference: Path) -> bool:
    """Compare two files: byte for byte, but for columns that hold times or memory."""
    if name not in TIMED:
        return path.read_bytes() == reference.read_bytes()
    tables = [pd.read_csv(file) for file in (path, reference)]
    measured = tables[0].filter(regex="speedup|time_s|peak_").columns
    return tables[0].drop(columns=measured).equals(tables[1].drop(columns=measured))


@pytest.fixture(scope="module")
def undisturbed(repo_root, tmp_path_factory):
    """Return the folder of a run that nothing disturbed, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    done = Run(repo_root, folder)(*TARGETS)
    assert done.returncode == 0, done.stdout
    return folder, time.monotonic() - started


def unfinished(log: str) -> str:
    """Name the rules that had begun and not ended, from Snakemake's output."""
    begun = Counter(re.findall(r"^(?:local)?rule (\w+):$", log, flags=re.M))
    ended = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", log, flags=re.M))
    return ", ".join(sorted((begun - ended).elements())) or "none"


@pytest.mark.workflow
def test_killed_runs_go_on_to_the_same_tables(repo_root, undisturbed, tmp_path, capsys):
    """Kill at random times and go on, ten times; no file that is there may ever be unfinished."""
    reference, seconds = undisturbed
    expected = files(reference)
    draw = random.Random(SEED)
    run = Run(repo_root, tmp_path / "run")
    log = tmp_path / "log.txt"
    rows: list[tuple[str, ...]] = []
    finished = 0
    while len(rows) < KILLS:
        after = draw.uniform(0.05, 0.3) * seconds
        # In turn the two ways that docs/cluster.md gives: unlock, or ignore the lock.
        options = ["--nolock"] if len(rows) % 2 else []
        if len(rows) and not options:
            unlocked = subprocess.run(
                [*run.command, "--unlock"], capture_output=True, text=True, check=False
            )
            assert unlocked.returncode == 0, unlocked.stderr
        killed = run.killed(after, log, *TARGETS, options=options)
        there = files(run.folder)
        wrong = [
            name
            for name, path in there.items()
            # A piece of a forecast is removed once it has been joined.
            if "/pieces/" not in name and not same(name, path, expected[name])
        ]
        assert not wrong, f"after {after:.1f} s: {wrong}"
        if killed:
            whole = f"{len(there)} files, all whole"
            rows.append((f"{after:.1f}", unfinished(log.read_text()), whole))
        else:
            assert there.keys() == expected.keys()
            finished += 1
            shutil.rmtree(run.folder)
    done = run(*TARGETS, options=["--nolock"])
    assert done.returncode == 0, done.stdout
    there = files(run.folder)
    assert there.keys() == expected.keys()
    assert all(same(name, path, expected[name]) for name, path in there.items())
    assert not list((run.folder / "results").rglob(".*.partial"))

    with capsys.disabled():
        print(f"\n\nundisturbed: {seconds:.1f} s; seed {SEED}; {finished + 1} times to the end")
        print(f"{'killed after s':>15}  {'rules that ran':50}  left behind")
        for after, rules, left in rows:
            print(f"{after:>15}  {textwrap.shorten(rules, 50):50}  {left}")
    assert len({rules for _, rules, _ in rows}) > 1  # not the same place every time


@contextmanager
def small_disk(folder: Path, options: str):
    """Mount a small disk in memory at a folder; skip the test where that is not permitted."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"SKIPPED, NOT PASSED: mounting needs root ({mounted.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.workflow
def test_a_full_disk_is_named_and_the_run_goes_on(repo_root, tmp_path):
    run = Run(repo_root, tmp_path)
    with small_disk(tmp_path / "results", "size=64k"):
        filler = tmp_path / "results" / "filler"
        filler.write_bytes(bytes(52_000))
        full = run(DATA)
        assert full.returncode == 1
        (line,) = error_lines(full.stdout)
        assert "fetch_suite_demo: no space left on the disk" in line
        assert "free some, then run the same command again" in line
        assert "Traceback" not in full.stdout
        assert not (tmp_path / DATA).exists()
        filler.unlink()
        done = run(DATA)
        assert done.returncode == 0, done.stdout
        assert damage(tmp_path / DATA) is None


@pytest.mark.workflow
def test_results_that_can_only_be_read_are_named(repo_root, tmp_path):
    run = Run(repo_root, tmp_path)
    with small_disk(tmp_path / "results", "size=1m,ro"):
        refused = run(DATA)
        assert refused.returncode == 1
        (line,) = error_lines(refused.stdout)
        assert line.startswith("the file system can only be read; in results")
        assert "Traceback" not in refused.stdout
        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path / "results")], check=True)
        done = run(DATA)
        assert done.returncode == 0, done.stdout


@pytest.mark.workflow
def test_a_full_folder_of_temporary_files_stops_no_forecast(repo_root, undisturbed, tmp_path):
    """Data are read past caches: nothing of a forecast is written beside its result."""
    reference, _ = undisturbed
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    run = Run(repo_root, tmp_path)
    name = f"results/forecasts/{STUDY}_sparse_r8.parquet"
    before = (tmp_path / name).read_bytes()
    with small_disk(tmp_path / "small", "size=16k"):
        options = ["--forcerun", "forecast"]
        full = run(name, options=options, environment={"TMPDIR": str(tmp_path / "small")})
    assert full.returncode == 0, full.stdout
    assert "Finished jobid: 0 (Rule: forecast)" in full.stdout
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.workflow
@pytest.mark.parametrize("seconds", [4, 8])
def test_ctrl_c_is_a_line_and_leaves_nothing(repo_root, tmp_path, seconds):
    run, log = Run(repo_root, tmp_path / "run"), tmp_path / "log.txt"
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*run.command, "--config", "only=us_macro,prices", "--", *TARGETS],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while "Execute 2 jobs" not in log.read_text() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(seconds)  # the first jobs import, or work
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=120)
    output = log.read_text()
    assert process.returncode != 0
    assert "Terminating processes on user request" in output
    assert "Traceback" not in output
    assert all("interrupted; run the same command again" in line for line in error_lines(output))
    assert not living(run.folder)
    assert not list((run.folder / "results").rglob(".*.partial"))


@pytest.mark.workflow
def test_a_damaged_file_is_named_and_made_again(repo_root, undisturbed, tmp_path):
    reference, _ = undisturbed
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    run = Run(repo_root, tmp_path)
    name = f"results/forecasts/{STUDY}_sparse_r8.parquet"
    with open(tmp_path / name, "r+b") as file:
        file.truncate(os.path.getsize(tmp_path / name) // 2)
    target = f"results/accuracy/{STUDY}_sparse_r8.csv"
    stopped = run(target, options=["--forcerun", "score"])
    assert stopped.returncode == 1
    (line,) = error_lines(stopped.stdout)
    assert line.startswith("score: not a readable Parquet file")
    assert f"in {name}; delete it, then run the same command again" in line
    assert "Traceback" not in stopped.stdout
    (tmp_path / name).unlink()
    done = run(target)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / target).read_bytes() == (reference / target).read_bytes()
    assert (tmp_path / name).read_bytes() == (reference / name).read_bytes()


# Python reads this module when it starts. It lets the model run out of memory whatever the batch.
NO_MEMORY = """
import importlib.abc
import importlib.util
import sys


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "chronos2_attention.model":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            module.Chronos2VariantModel.forward = no_memory

        spec.loader.exec_module = exec_module
        return spec


def no_memory(*args, **kwargs):
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


sys.meta_path.insert(0, Finder())
"""


@pytest.mark.workflow
def test_lack_of_memory_on_the_device_names_the_settings(repo_root, undisturbed, tmp_path):
    reference, _ = undisturbed
    shutil.copytree(reference / "results" / "data", tmp_path / "results" / "data")
    shutil.copytree(reference / "results" / "models", tmp_path / "results" / "models")
    shutil.copytree(reference / ".snakemake", tmp_path / ".snakemake")
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(NO_MEMORY)
    run = Run(repo_root, tmp_path)
    name = f"results/forecasts/{STUDY}_full.parquet"
    stopped = run(name, environment={"PYTHONPATH": str(patch)})
    assert stopped.returncode == 1
    (line,) = error_lines(stopped.stdout)
    assert line == (
        "forecast: out of memory on the GPU; lower forecast.batch_size (now 256) or "
        "forecast.context_length (now the limit of the model), "
        "then run the same command again: what is finished is kept"
    )
    assert "going on with at most 1" in stopped.stdout  # it was halved down to one series before
    assert "Traceback" not in stopped.stdout
    assert not (tmp_path / name).exists()
    done = run(name)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.parametrize(
    ("error", "params", "words"),
    [
        (OSError(28, "No space left on device"), {}, ["no space left", "free some"]),
        (ValueError("I/O error: No space left on device (os error 28)"), {}, ["no space left"]),
        (OSError(122, "Disk quota exceeded", "x.csv"), {}, ["no space left", "in x.csv"]),
        (OSError(27, "File too large", "x.csv"), {}, ["larger than", "in x.csv", "ulimit -f"]),
        (OSError(36, "File name too long", "x.csv"), {}, ["too long", "shorter"]),
        (FileNotFoundError(2, "No usable temporary directory found in []"), {}, ["TMPDIR"]),
        (OSError(30, "Read-only file system", "x.csv"), {}, ["only be read", "in x.csv"]),
        (PermissionError(13, "Permission denied", "x.csv"), {}, ["no permission", "in x.csv"]),
        (
            MemoryError(),
            {"forecast": {"batch_size": 8}},
            ["out of memory", "batch_size (now 8)", "mem_mb"],
        ),
        (MemoryError(), {}, ["out of memory", "mem_mb"]),
        (
            OSError(27, "File too large", "x.csv"),
            {},
            ["larger than", "raise the limit"],
        ),
        (OSError("Not enough disk space. Needed: 1 GB"), {}, ["no space left", "TMPDIR"]),
        (
            FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"),
            {},
            ["no folder for temporary files", "set TMPDIR"],
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
            {"forecast": {"context_length": None}},
            ["out of memory", "context_length (now the limit of the model)"],
        ),
    ],
)
def test_failures_are_explained(error, params, words):
    wrapped = RuntimeError("writer failed")
    wrapped.__context__ = error
    for shown in (error, wrapped):
        explained = explain(shown, [], params)
        assert isinstance(explained, InputError)
        assert "\n" not in str(explained)
        assert all(word in str(explained) for word in words), explained


def test_a_full_disk_is_not_blamed_on_the_data():
    blamed = InputError("fev cannot load task 'a'", "a.parquet", "remove it")
    assert explain(blamed, [], {}) is blamed
    blamed.__cause__ = OSError(28, "No space left on device", "/scratch/fev-1/cache")
    line = str(explain(blamed, [], {}))
    assert "no space left on the disk; in /scratch/fev-1/cache" in line
    assert "remove" not in line


def test_what_was_removed_during_a_job_is_named(tmp_path):
    results = tmp_path / "results"
    making = whole_files([tmp_path / "x.csv", results / "models" / "x.csv"])
    (_, temporary) = making.__enter__()
    shutil.rmtree(results)
    # A writer that makes its folders hides that the others are gone.
    temporary.parent.parent.mkdir(parents=True)
    error = FileNotFoundError(2, "No such file or directory", str(temporary))
    with pytest.raises(InputError, match="the folder was removed while its files") as caught:
        making.__exit__(type(error), error, None)
    assert f"in {results / 'models'}; run the same command again" in str(caught.value)
    assert explain(error, [], {}) is None
    assert "the file was removed" in str(explain(error, [str(tmp_path / "y.csv")], {}))


def test_outputs_take_their_names_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "a" / "x.csv", tmp_path / "a" / ("y" * 250 + ".csv"), tmp_path / "b.json"]
    unfinished = whole_files(paths)
    for path in unfinished.__enter__()[::2]:
        path.write_text("1")
    with pytest.raises(FileNotFoundError):
        unfinished.__exit__(None, None, None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with whole_files(paths) as temporary:
        assert temporary[0].parent == temporary[1].parent
        for number, path in enumerate(temporary):
            path.write_text(str(number))
        assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["0", "1", "2"]
    assert not list(tmp_path.rglob(".*.partial"))


def test_a_defect_is_not_explained_away(tmp_path):
    good = tmp_path / "good.csv"
    good.write_text("a,b\n1,2\n")
    missing = tmp_path / "missing.csv"
    assert explain(ValueError("shapes differ"), [str(good), str(missing)], {}) is None
    assert explain(PermissionError(1, "a socket's"), [], {}) is None


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".safetensors", ".csv"])
def test_damaged_files_are_told_from_whole_ones(tmp_path, suffix):
    import numpy as np
    from safetensors.numpy import save_file

    table = pd.DataFrame({"a": range(1000), "b": np.random.default_rng(0).normal(size=1000)})
    path = tmp_path / f"file{suffix}"
    write = {
        ".parquet": lambda: table.to_parquet(path),
        ".json": lambda: table.to_json(path),
        ".safetensors": lambda: save_file({"a": table["b"].to_numpy()}, path),
        ".csv": lambda: table.to_csv(path),
    }
    write[suffix]()
    assert damage(path) is None
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + (b'\n"' if suffix == ".csv" else b""))
    assert f"not readable as {suffix[1:]}" in damage(path)
    path.write_bytes(b"")
    assert damage(path) == "empty file"


def test_what_a_killed_writer_left_is_removed_and_a_living_one_keeps_its_file(tmp_path, repo_root):
    path = tmp_path / "table.csv"
    code = textwrap.dedent(
        f"""
        import sys
        from study.jobs.files import atomic_path
        with atomic_path({str(path)!r}) as temporary:
            temporary.write_text("half")
            print("writing", flush=True)
            sys.stdin.readline()
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(repo_root / "scripts")}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "writing\n"
    killed, living = writers
    killed.kill()
    killed.wait()
    assert len(list(tmp_path.glob(".*.partial"))) == 2
    assert not path.exists()

    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    (left,) = tmp_path.glob(".*.partial")
    assert (left / "table.csv").read_text() == "half"
    living.communicate("\n")
    assert living.returncode == 0
    assert path.read_text() == "half"
    assert not list(tmp_path.glob(".*.partial"))
