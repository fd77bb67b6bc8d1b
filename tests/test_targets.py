"""Every file that a rule makes can be asked for by name; a wrong word in it is named in a line."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, ResourceSettings

from chronos2_attention.errors import InputError
from study.config.study import load_study
from study.config.targets import WILDCARD, TargetCheck

WORDS = {
    "study": "demo",
    "dataset": "prison",
    "model": "nano",
    "measure": "cosine",
    "temperature": "0.5",
    "r": "8",
    "soft": "distance_t5",
    "variant": "sparse_r8",
    "method": "seasonal_naive",
    "scatteritem": "1-of-1",
    "regime": "ragged",
    "timed": "radii",
    "mask": "sweep",
    "device": "cpu",
}
WRONG = {
    "study": ("dmo", "unknown suite 'dmo'"),
    "dataset": ("prisn", "unknown data set 'prisn'"),
    "model": ("nan", "unknown model 'nan'"),
    "measure": ("cosin", "cosin"),
    "temperature": ("05", "05"),
    "r": ("x", "unknown attention variant 'sparse_rx'"),
    "soft": ("distanc_t5", "unknown attention variant 'soft_distanc_t5'"),
    "variant": ("sparse_8", "unknown attention variant 'sparse_8'"),
    "method": ("naive", "unknown attention variant 'naive'"),
    # What follows a method may as well be of its name.
    "scatteritem": ("one", "no rule makes this result|unknown attention variant '.*_(one|sweep)'"),
    "regime": ("raged", "no rule makes this result"),
    "timed": ("sparse_8", "no rule makes this result"),
    "mask": ("t", "no rule makes this result"),
    "device": ("gpu", "no rule makes this result"),
}


@pytest.fixture(scope="module")
def outputs(repo_root, tmp_path_factory):
    """The outputs of all rules, as Snakemake reads them."""
    with pytest.MonkeyPatch.context() as patch, SnakemakeApi(OutputSettings()) as api:
        patch.setattr("sys.argv", ["snakemake"])
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            snakefile=repo_root / "workflow" / "Snakefile",
            workdir=tmp_path_factory.mktemp("workdir"),
        )
        return [str(file) for rule in workflow._workflow.rules for file in rule.products()]


def named(output: str, words: dict[str, str]) -> str:
    return WILDCARD.sub(lambda found: words[found[1]], output)


def test_every_output_can_be_asked_for(outputs, repo_root):
    assert len(outputs) > 100
    check = TargetCheck(outputs, repo_root / "config", None)
    for study in ("demo", "leading_factor@chronos-2-random", "m4_hourly@nano"):
        for output in outputs:
            assert check.file(named(output, {**WORDS, "study": study})), output


def test_a_wrong_word_in_any_output_is_named(outputs, repo_root):
    check = TargetCheck(outputs, repo_root / "config", None)
    tried = set()
    for output in outputs:
        for wildcard in dict.fromkeys(found[1] for found in WILDCARD.finditer(output)):
            word, message = WRONG[wildcard]
            target = named(output, {**WORDS, wildcard: word})
            with pytest.raises(InputError) as caught:
                check.file(target)
            assert re.search(message, str(caught.value)), target
            assert caught.value.mend, target
            tried.add(wildcard)
    assert tried == WRONG.keys()


@pytest.mark.parametrize("folder", ["", "figures/", "report/", "accuracy/", "scores/pieces/"])
def test_a_result_that_nothing_makes_is_refused(outputs, repo_root, folder):
    check = TargetCheck(outputs, repo_root / "config", None)
    for name in (
        "demo_skil.svg",
        "demo.csv",
        "demo_perf_full.csv.gz",
        "demo@nano_verdict.html",
        "x",
    ):
        target = f"results/{folder}{name}"
        assert not check.file(target, is_target=lambda: False)  # an option's value
        with pytest.raises(InputError) as caught:
            check.file(target)
        assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match=r"nearest are results/figures/demo@nano_skill\.svg"):
        check.file("results/figures/demo@nano_skil.svg")
    with pytest.raises(InputError, match="more than 200 characters"):
        check.file(f"results/{folder}{'x' * 300}.csv")


@pytest.fixture
def own(repo_root, tmp_path):
    """A configuration with suites and models of awkward names."""
    config = tmp_path / "config"
    shutil.copytree(repo_root / "config", config)
    for name in AWKWARD:
        shutil.copyfile(config / "suites/demo.yaml", config / f"suites/{name}.yaml")
        shutil.copyfile(config / "models/nano.yaml", config / f"models/{name}.yaml")
    return config


# Ends of names that are also parts of other names of results, or could be.
AWKWARD = [
    *("my-suite", "a.b", "2024", "a_perf", "a_soft", "a_soft_ttest", "a_sparse_r8", "a_full"),
    *("a_seasonal_naive", "a_mass", "a_radius", "a_t5", "a_1-of-1", "demo_", "a--b", "x" * 64),
]


def test_awkward_names_are_read_in_one_way(outputs, own):
    """One rule, or rules for the same words, makes each file: Snakemake would stop otherwise."""
    check = TargetCheck(outputs, own, None)
    for study in (*AWKWARD, *(f"demo@{name}" for name in AWKWARD), "my-suite@a_full"):
        for output in outputs:
            target = named(output, {**WORDS, "study": study, "model": study.split("@")[-1]})
            if "{study" in output:
                assert {found["study"] for found in check._made_by(target)} == {study}, target
            assert check.file(target)


def test_a_name_that_no_file_can_bear_is_refused_where_it_is_read(own):
    for name in ("my suite", "prior", "-a", ".b", "a'b", "ä", "x" * 65):
        shutil.copyfile(own / "suites/demo.yaml", own / f"suites/{name}.yaml")
        with pytest.raises(InputError, match=r"has no good name.*letters, digits"):
            load_study(name, own)
    suite = yaml.safe_load((own / "suites/demo.yaml").read_text())
    suite["tasks"] = [{"name": "a b", "dataset": "prison", "horizon": 4, "seasonality": 1}]
    (own / "suites/mine.yaml").write_text(yaml.safe_dump(suite))
    with pytest.raises(InputError, match=r"tasks\[0\]\.name: 'a b' is no good name"):
        load_study("mine", own)


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results/figures/dmo_skill.svg"], "unknown suite 'dmo'"),
        (["results/figures/demo_skil.svg"], "the nearest are results/figures/demo_skill.svg"),
        (["results/report/demo@nno_perf.html"], "unknown model 'nno'"),
        (["results/forecasts/demo_ful.parquet"], "unknown attention variant 'ful'"),
        (["--config", "run=my-suit"], "unknown suite 'my-suit'"),
        (["--report-stylesheet", "results/x.css", "results/figures/demo_skill.svg"], None),
    ],
)
def test_the_command_line_says_it_in_one_line(run, tmp_path, arguments, message):
    done = run(tmp_path, "--cores", "1", "--dry-run", *arguments)
    errors = re.findall("^error: .*", done.stdout, re.MULTILINE)
    assert "Traceback" not in done.stdout
    if message is None:
        assert (done.returncode, errors) == (0, []), done.stdout
    else:
        assert (done.returncode, len(errors)) == (1, 1), done.stdout
        assert message in errors[0]


@pytest.mark.workflow
def test_a_suite_with_a_hyphen_is_planned(run, repo_root, tmp_path):
    folder = tmp_path / "copy"
    for part in ("workflow", "scripts", "config", "envs", "resources"):
        ignored = shutil.ignore_patterns("*.pyc", "__pycache__", "*.safetensors")
        shutil.copytree(repo_root / part, folder / part, ignore=ignored)
    shutil.copyfile(folder / "config/suites/demo.yaml", folder / "config/suites/my-suite.yaml")
    snakefile = ("--snakefile", str(folder / "workflow/Snakefile"))
    done = run(tmp_path, *snakefile, "--dry-run", "results/my-suite_ttest_r8.csv")
    assert done.returncode == 0, done.stdout
    assert "results/my-suite_ttest_r8.csv" in done.stdout
