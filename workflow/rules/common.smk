# What all rules share: settings that have been checked, and studies by name.
# What a parameter holds makes results anew when it changes: `study` and whole parts of the settings,
# but no absolute path, nor more than results depend on.

import os
import re
import sys
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import product

# Not `workflow.basedir`, which is another workflow's where this one is a module of it.
REPO_ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
IS_MODULE = Path(workflow.basedir).resolve() != (REPO_ROOT / "workflow").resolve()
CONFIG_DIR = REPO_ROOT / "config"
sys.path.insert(0, str(REPO_ROOT / "scripts"))

from chronos2_attention import AttentionVariant, InputError
from chronos2_attention.variants.soft import MEASURES
from study.config.datasets import find_spec, load_registry
from study.config.plans import load_plans
from study.config.models import load_model_spec, local_files, mirrored_files
from study.config.settings import complete, settle
from study.config.study import load_study
from study.config.suites import load_suite
from study.config.targets import TargetCheck
from study.config.yaml_files import NAME
from study.jobs.files import KnownFile
from study.jobs.script import check_writable, plain_interpreter
from study.soft_masks.sweep import JOINT, LADDER, control_of, sweep_variants, with_controls


@contextmanager
def mistakes_in_one_line():
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")


def is_target(word):
    """Whether a word of the command line is a target, and not an option's value."""
    from snakemake.cli import get_argument_parser

    return word in get_argument_parser().parse_known_args(sys.argv[1:])[0].targets


with mistakes_in_one_line():
    complete(config, CONFIG_DIR / "config.yaml")
    settle(config)
    # Snakemake hands it to a shell as it is.
    sys.executable = plain_interpreter()


# The suite on which group attention must be seen to work.
PROOF = "leading_factor"
MIRROR = Path(config["mirror"]) if config["mirror"] else None
# How many threads there were changes last digits only: no reason to make results anew.
FORECAST = {key: value for key, value in config["forecast"].items() if key != "threads"}

# What one process makes, whose start costs more than a variant: one; a soft mask and its controls; all
# of a measure in the sweep, in a folder of their own, so that one mask alone stays cheap. By the
# suffix of its rules: that folder, its name in those of logs, its variants.
SOFT = config["soft"]
SOFT_FAMILY = [
    f"soft_{{measure}}{control}_t{{temperature}}" for control in ("", "-permuted", "-uniform")
]
SWEPT = sweep_variants(MEASURES[:1], SOFT["temperatures"], SOFT["controls"])[1:]
SWEPT = [name.replace(MEASURES[0], "{measure}") for name in SWEPT]
TOGETHER = {
    "": ("", "{variant}", ["{variant}"]),
    "_soft": ("", "soft_{measure}_t{temperature}", SOFT_FAMILY),
    "_sweep": ("sweep/", "soft_{measure}_sweep", SWEPT),
}

PATTERNS = [re.sub(r"\(\?P<\w+>", "(?:", p) for p in AttentionVariant.patterns()]
VARIANT = "|".join(PATTERNS)


# Read once: every job's inputs and parameters ask for them.
@cache
def study_by_name(name):
    """A study; `only` is of those asked for, and leaves the proof of a model's mechanism whole."""
    only = None if name.startswith(f"{PROOF}@") else config["only"]
    return load_study(name, config_dir=CONFIG_DIR, only=only)


model_spec = cache(partial(load_model_spec, config_dir=CONFIG_DIR))
registry = cache(partial(load_registry, CONFIG_DIR / "datasets.yaml"))


def study_of(wildcards):
    return study_by_name(wildcards.study)


def named(variants):
    return lambda wildcards: [name.format(**wildcards) for name in variants]


def at_hand():
    """Data sets that need no network, by the first suite that has them."""
    found = {}
    for name in sorted(path.stem for path in CONFIG_DIR.glob("suites/*.yaml")):
        with suppress(InputError):  # the affair of who asks for it
            suite = load_suite(name, CONFIG_DIR).only(None if name == PROOF else config["only"])
            specs = [find_spec(registry(), dataset) for dataset in suite.datasets]
            own = {spec.name for spec in specs if spec.source in ("package", "synthetic")}
            found[f"suite_{name}"] = sorted(own.difference(*found.values()))
    return {name: datasets for name, datasets in found.items() if datasets}


def specs_of(datasets):
    return lambda wildcards: tuple(find_spec(registry(), n) for n in named(datasets)(wildcards))


def clusters_of(wildcards):
    """Which tasks and series are one cluster to a test; no part of what forecasts depend on."""
    return study_of(wildcards).suite.clusters


def invented_of(wildcards):
    """Data sets of a study whose dates are invented."""
    datasets = study_of(wildcards).suite.datasets
    return [name for name in datasets if find_spec(registry(), name).dates == "invented"]


def plans_of(wildcards):
    """What this study was planned to decide, with the settings that it has."""
    margin = config["statistics"]["tost_margin"]
    return load_plans(CONFIG_DIR / "plans", wildcards.study, margin=margin, seed=FORECAST["seed"])


def data_of(wildcards):
    return [f"results/data/{dataset}.parquet" for dataset in study_of(wildcards).suite.datasets]


def model_of(wildcards):
    """The checkpoint of a study and where it came from."""
    folder = f"results/models/{study_of(wildcards).model.name}"
    return {"weights": f"{folder}/model.safetensors", "model": f"{folder}.json"}


def data_and_weights_of(wildcards):
    return {"data": data_of(wildcards), "weights": model_of(wildcards)["weights"]}


def similarity_of(wildcards):
    """The similarities that a soft mask weighs series by; a leaking one has batches of its own."""
    if "variant" in wildcards.keys():
        variant = AttentionVariant.parse(wildcards.variant)
        measure = getattr(variant, "measure", None)
        if measure not in MEASURES or variant.leaking:
            return []
    else:
        measure = wildcards.measure
    return [f"results/similarity/{wildcards.study}_{measure}.parquet"]


def similarity_settings_of(wildcards):
    """The settings of the similarities, for variants that know of any."""
    if "variant" in wildcards.keys():
        if not hasattr(AttentionVariant.parse(wildcards.variant), "measure"):
            return {}
    return config["similarity"]


def inputs_of_model(wildcards):
    """What a job needs that runs a study's model under the variants of soft masks, too."""
    named = {"data": data_of(wildcards), "similarity": similarity_of(wildcards)}
    return named | model_of(wildcards)


def pieces(process, patterns):
    """Files of the pieces that each pattern with {scatteritem} is split into, of one together."""
    escaped = [pattern.replace("{", "{{").replace("}", "}}") for pattern in patterns]
    named = [pattern.replace("{{scatteritem}}", "{scatteritem}") for pattern in escaped]
    return [piece for pattern in named for piece in process(pattern)]


def reference(*names):
    """Tables of `config/reference`, as parameters."""
    return [KnownFile.at(CONFIG_DIR / "reference" / f"{name}.csv") for name in names]


def published_of(wildcards):
    """The published figures of a study's suite, one table at most."""
    name = study_of(wildcards).suite.published
    return [KnownFile.at(CONFIG_DIR / "reference" / name)] if name else []


def inputs_of_validity(wildcards):
    """Where figures of the model were published, forecasts in the setting of these, too."""
    name, model = f"{wildcards.study}_joint", study_of(wildcards).model.name.replace("-", "_")
    joint = [f"results/accuracy/{name}.csv", f"results/forecasts/{name}.parquet"]
    heads = [open(table.path).readline() for table in published_of(wildcards)]
    known = any(f"{model}_MASE" in head for head in heads)
    return {"joint": joint, "data": data_of(wildcards)} if known else {}


def own_files_of(datasets, known):
    """Files of the user's, as far as they exist: the script says what is absent."""
    return lambda wildcards: [
        known(path)
        for spec in specs_of(datasets)(wildcards)
        for path in filter(os.path.isfile, spec.local_files)
    ]


def scores_of(names, part=""):
    """Files of scores and of accuracy of studies' variants, or of a piece of them."""
    kinds = {"scores": "parquet", "accuracy": "csv"}
    folder = "pieces/" if part else ""
    return {
        kind: [f"results/{kind}/{folder}{name}{part}.{suffix}" for name in names]
        for kind, suffix in kinds.items()
    }


def pieces_of_scores(names):
    """Files of the pieces that a split study is scored in; none where one job does it all."""
    files = scores_of(names, "_{scatteritem}")
    found = {f"{kind}_pieces": pieces(gather.score, files[kind]) for kind in files}
    return found if len(found["scores_pieces"]) > len(names) else {}


def efficiency_of(study, r):
    """The file that holds full attention and this radius: all radii of the settings share one."""
    shared = r in map(str, config["radii"])
    return f"results/efficiency/{study}_{'radii' if shared else f'sparse_r{r}'}.csv"


def timed_with_full(wildcards):
    """What one run times, so that their ratio is a speedup: of all radii, or of one."""
    radii = [f"sparse_r{r}" for r in config["radii"]]
    return ["full", *(radii if wildcards.timed == "radii" else [wildcards.timed])]


def inputs_of_perf(wildcards):
    """Accuracy of a method and, for full and sparse attention, the timing that it belongs to."""
    study, method = wildcards.study, wildcards.method
    inputs = {"accuracy": f"results/accuracy/{study}_{method}.csv"}
    if method == "full":
        inputs["efficiency"] = f"results/efficiency/{study}_radii.csv"
    elif method.startswith("sparse_r"):
        inputs["efficiency"] = efficiency_of(study, method.removeprefix("sparse_r"))
    return inputs


def tested(wildcards):
    """A soft mask and its controls, or all that are swept."""
    if "soft" in wildcards.keys():
        return with_controls(f"soft_{wildcards.soft}", SOFT["controls"])
    return sweep_variants(SOFT["measures"], SOFT["temperatures"], SOFT["controls"])


def proof_of(wildcards):
    """The study of the same weights on leading factors: itself where it is one."""
    study = study_of(wildcards)
    return study.name if study.suite.name == PROOF else f"{PROOF}@{study.model.name}"


def shuffled(wildcards):
    """A soft mask, or all of its measure that are swept: starting a process costs as much as one."""
    if wildcards.mask == "sweep":
        return sweep_variants([wildcards.measure], SOFT["temperatures"], [])[1:]
    return [f"soft_{wildcards.measure}_{wildcards.mask}"]


def files_of(wildcards, names, swept):
    """Files of soft masks by kind; those of a sweep lie in a folder of their own."""
    kinds = {"scores": "parquet", "forecasts": "parquet", "group_mass": "csv"}
    folders = ["sweep/" if swept and name != JOINT else "" for name in names]
    names = [f"{folder}{wildcards.study}_{name}" for folder, name in zip(folders, names)]
    return {kind: [f"results/{kind}/{n}.{end}" for n in names] for kind, end in kinds.items()}


def files_of_tested(wildcards):
    names, one = tested(wildcards), "soft" in wildcards.keys()
    masks = [f"soft_{measure}_sweep" for measure in SOFT["measures"]]
    masks = [name for name in names if control_of(name, "permuted")] if one else masks
    shuffles = [f"results/shuffles/{wildcards.study}_{mask}.csv" for mask in masks]
    return files_of(wildcards, names, not one) | {"shuffles": shuffles}


# Real series for the ragged regimes: of the mirror where there is one, else of `demo`.
MIRRORED = [f"monash_{name}" for name in ("m3_quarterly", "m3_yearly", "tourism_quarterly")]
RAGGED = {"short": ["prison", "visnights", "arrivals", "us_macro"], "long": ["nyc_weather"]}
if MIRROR:
    RAGGED = {"short": [*MIRRORED, "monash_hospital"], "long": ["m4_hourly"]}


def regimes_of(wildcards):
    """A job each, so that what is done stays when a later one is stopped."""
    keys = ["dense", "dense_cuda"][: 1 + (wildcards.device != "cpu")]
    sizes = [f"{count}x{length}" for key in keys for count, length in config["benchmark"][key]]
    names = [*sizes, "ragged", "ragged_long"]
    return [f"results/benchmarks/attention/{name}_{wildcards.device}.csv" for name in names]


def series_of_regime(wildcards):
    ragged = wildcards.regime.startswith("ragged")
    return {
        kind: [f"results/data/{name}.parquet" for name in names if ragged]
        for kind, names in RAGGED.items()
    }


def each(patterns):
    """The files of a pattern of the tables, one for each of what it names; see figures.yaml."""
    if isinstance(patterns, str) and re.findall(r"{(\w+)}", patterns) == ["study"]:
        return patterns
    return lambda wildcards: expand(
        patterns,
        study=wildcards.study,
        r=config["radii"],
        soft=sweep_variants(SOFT["measures"], SOFT["temperatures"], [])[1:],
        measure=SOFT["measures"],
        model=study_of(wildcards).model.name,
        dataset=study_of(wildcards).suite.datasets,
    )


def settings_of(keys):
    """What figures are given beside their inputs: of their study, or of the settings."""
    return lambda wildcards: {k: getattr(study_of(wildcards), k, config.get(k)) for k in keys}


def in_report(path, kind, name, entry):
    """A figure or page in its section of the report."""
    return report(
        path,
        caption=f"../report/{kind}/{name}.rst",
        **dict(zip(["category", "subcategory"], entry["section"])),
        labels={"shows": entry["shows"], "study": "{study}"},
    )


def shown(family):
    """Figures and pages of the studies of the settings."""
    results = [f"figures/{{study}}_{name}.{{suffix}}" for name in FIGURES.get(family, [])]
    results += [f"report/{{study}}_{page}.html" for page in PAGES.get(family, [])]
    results = [f"results/{path}" for path in results]
    return expand(results, study=config["run"], suffix=["svg", "png"])
