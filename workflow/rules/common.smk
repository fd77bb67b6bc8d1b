# What all rules share: settings that have been checked, and studies by name.

import re
import sys
from contextlib import contextmanager
from functools import cache, partial

# Not `workflow.basedir`, which is another workflow's where this one is a module of it.
REPO_ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
IS_MODULE = Path(workflow.basedir).resolve() != (REPO_ROOT / "workflow").resolve()
SCRIPTS = REPO_ROOT / "scripts"
CONFIG_DIR = REPO_ROOT / "config"
sys.path.insert(0, str(SCRIPTS))

from chronos2_attention import AttentionVariant, InputError
from chronos2_attention.similarity import MEASURES
from study.config.settings import complete, settle
from study.config.study import load_study
from study.config.targets import TargetCheck
from study.config.yaml_files import NAME
from study.jobs.script import check_writable


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


onstart:
    with mistakes_in_one_line():
        check_writable(Path("results"))


MIRROR = Path(config["mirror"]) if config["mirror"] else None

FORECAST_KEYS = ["device", "dtype", "batch_size", "context_length", "seed"]

# A soft mask and its two controls are made by one process: starting it costs more than a variant.
SOFT_FAMILY = [
    f"soft_{{measure}}{control}_t{{temperature}}" for control in ("", "-permuted", "-uniform")
]

PATTERNS = [re.sub(r"\(\?P<\w+>", "(?:", p) for p in AttentionVariant.patterns()]
VARIANT = "|".join(PATTERNS)
# What follows sparse_r in the name of a variant: a radius, and options.
SPARSE = [p.removeprefix("sparse_r") for p in PATTERNS if p.startswith("sparse_r")]


wildcard_constraints:
    study=f"{NAME}?(?:@{NAME})?",
    variant=VARIANT,
    method=f"seasonal_naive|{VARIANT}",
    r="|".join(SPARSE),
    dataset=NAME,
    model=NAME,
    measure="|".join(MEASURES),
    temperature=r"\d+(?:\.\d+)?",


@cache
def study_by_name(name):
    """Read once: every job's inputs and parameters ask for its study."""
    return load_study(name, CONFIG_DIR, config["only"])


def study_of(wildcards):
    return study_by_name(wildcards.study)


def datasets_of(wildcards):
    """Names of the data sets of a study, each once, in the order of its tasks."""
    return list(dict.fromkeys(task.dataset for task in study_of(wildcards).suite.tasks))


def data_of(wildcards):
    return [f"results/data/{dataset}.parquet" for dataset in datasets_of(wildcards)]


def weights_of(wildcards):
    return f"results/models/{study_of(wildcards).model.name}/model.safetensors"


def model_sidecar_of(wildcards):
    return f"results/models/{study_of(wildcards).model.name}.json"


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


def tasks_of(wildcards):
    """What a suite says of its tasks, so that a change of it makes the results anew."""
    return repr(study_of(wildcards).suite)


def efficiency_of(study, r):
    """The file that holds full attention and this radius: all radii of the settings share one."""
    shared = r in map(str, config["radii"])
    return f"results/efficiency/{study}_{'radii' if shared else f'sparse_r{r}'}.csv"


def pieces_of_scores(name, suffix):
    """Files of the pieces that a split study is scored in; none where one job does it all."""
    escaped = name.replace("{", "{{").replace("}", "}}")
    found = gather.score(f"results/scores/pieces/{escaped}_{{scatteritem}}.{suffix}")
    return found if len(found) > 1 else []


def pieces_of_soft_scores(suffix):
    return [
        piece
        for variant in SOFT_FAMILY
        for piece in pieces_of_scores(f"{{study}}_{variant}", suffix)
    ]


def perf_inputs(wildcards):
    """Accuracy of a method and, for full and sparse attention, the timing that it belongs to."""
    study, method = wildcards.study, wildcards.method
    inputs = {"accuracy": f"results/accuracy/{study}_{method}.csv"}
    if method == "full":
        inputs["efficiency"] = f"results/efficiency/{study}_radii.csv"
    elif method.startswith("sparse_r"):
        inputs["efficiency"] = efficiency_of(study, method.removeprefix("sparse_r"))
    return inputs


def benchmark_data(kind, regime):
    """Real series of a ragged regime: of the mirror where there is one, else of `demo`."""
    if not regime.startswith("ragged"):
        return []
    mirrored = {
        "short": [
            "monash_m3_quarterly",
            "monash_m3_yearly",
            "monash_tourism_quarterly",
            "monash_hospital",
        ],
        "long": ["m4_hourly"],
    }
    shipped = {"short": ["prison", "visnights", "arrivals", "us_macro"], "long": ["nyc_weather"]}
    return [
        f"results/data/{dataset}.parquet" for dataset in (mirrored if MIRROR else shipped)[kind]
    ]
