"""Any file of the configuration or of a checkpoint, spoilt: it works or gets one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml
from conftest import REPO_ROOT as REPO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import little_memory, spoilt, spoilt_yaml, works_or_says_why
from safetensors.torch import load_file, save_file
from snakemake.cli import parse_config

from chronos2_attention import Chronos2VariantPipeline, InputError
from chronos2_attention.checking import check, number
from chronos2_attention.checkpoint import load_model
from chronos2_attention.errors import quote
from pretraining.settings import load_settings
from study.config.models import load_model_spec
from study.config.settings import complete, settle
from study.config.suites import load_suite
from study.config.yaml_files import load_yaml

bounded = settings(
    max_examples=200,
    deadline=None,  # `works_or_says_why` has one
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def memory():
    with little_memory():
        yield


def repository_file(name: str):
    return yaml.safe_load((REPO / "config" / name).read_text(encoding="utf-8"))


# --- YAML ---------------------------------------------------------------------------------------


def read_suite(folder):
    suite = load_suite("mine", folder)
    for task in suite.tasks:
        works_or_says_why(lambda task=task: task.check_length(100, "here"))
    works_or_says_why(lambda: suite.only("*:50"))


READERS = {
    "suites/mine.yaml": ("suites/demo.yaml", read_suite),
    "suites/cut.yaml": ("suites/cbii.yaml", lambda folder: load_suite("cut", folder)),
    "models/mine.yaml": ("models/nano-random.yaml", lambda f: load_model_spec("mine", f)),
    "models/hub.yaml": ("models/chronos-2.yaml", lambda f: load_model_spec("hub", f)),
    "pretrain.yaml": ("pretrain.yaml", lambda folder: load_settings(folder / "pretrain.yaml")),
    "config.yaml": ("config.yaml", lambda folder: read_settings(folder / "config.yaml")),
}


def read_settings(path, given=None):
    config = {} if given is None else given
    complete(config, path)
    settle(config)
    return config


@pytest.mark.parametrize("name", READERS)
def test_a_spoilt_file_of_the_configuration_works_or_gets_a_line(tmp_path, name):
    original, read = READERS[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    document = repository_file(original)
    path.write_text(yaml.safe_dump(document))
    read(tmp_path)  # as it is, it works

    @bounded
    @given(spoilt_yaml(document))
    def check(text):
        path.write_text(text, encoding="utf-8")
        works_or_says_why(lambda: read(tmp_path))

    check()


CONFIG = repository_file("config.yaml")
TEXTS = [
    *("...", "8.0", "[8.0]", "nan", "[nan]", "[.nan]", ".inf", "-", "[-]", "{}", "[]", "true", "~"),
    *("[8,8]", "8,8", "[[8]]", "{a: 1}", "1e400", "9" * 5000, "0x1f", "x" * 5000, "[x, [y]]", "''"),
    *("&a [*a]", "? [a]", "!!int x", "{device: gpu}", "{alpha: nan}", "{alpha: 1e999}", "007", "="),
    *("1:2", "demo", "[0.1, 0.1]", "[1e-13]", "[true]", "[null]", "-1", "99999999999999999999"),
]


@bounded
@given(st.sampled_from([*CONFIG, "pretrain_steps", "radius"]), st.sampled_from(TEXTS))
def test_a_setting_of_the_command_line_works_or_gets_a_line(key, text):
    given = parse_config([f"{key}={text}"])
    works_or_says_why(lambda: read_settings(REPO / "config" / "config.yaml", given))


@bounded
@given(spoilt(CONFIG), st.booleans())
def test_settings_of_another_file_work_or_get_a_line(given, as_text):
    """As ``--configfile`` gives them, or ``--config``, which leaves what is nested as text."""

    def texts(value):
        if isinstance(value, dict):
            return {key: texts(item) for key, item in value.items()}
        return [texts(item) for item in value] if isinstance(value, list) else str(value)[:4000]

    if as_text:
        given = {k: texts(v) if isinstance(v, list | dict) else v for k, v in given.items()}
    works_or_says_why(lambda: read_settings(REPO / "config" / "config.yaml", given))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", READERS)
def test_no_file_takes_a_number_that_is_none(tmp_path, name, bad):
    """Every number of every file, in turn: text would pass where a text is wanted, NaN nowhere."""
    original, read = READERS[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    document = repository_file(original)

    def numbers(value):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if isinstance(item, int | float) and not isinstance(item, bool):
                yield value, key
            elif isinstance(item, dict | list):
                yield from numbers(item)

    found = list(numbers(document))[:60]
    for parent, key in found:
        kept, parent[key] = parent[key], bad
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        with pytest.raises(InputError, match=r"should be a (finite|whole) number|should be 1?[06]"):
            read(tmp_path)
        parent[key] = kept
    assert found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "in each other"),
        ("- " * 100_000, "in each other"),
        ("x: " + "y" * 3_000_000, "larger than"),
        ("a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n"
         for i in range(1, 12)), "are merged"),
        ("x: " + "9" * 5000, "cannot be read as int"),
        ("? [a, b]\n: c", "a key is a list"),
        ("a: &a [*a]", "recursive"),
    ],
    ids=["lists", "sequences", "size", "merges", "digits", "list as key", "recursion"],
)  # fmt: skip
def test_yaml_that_would_exhaust_its_reader_is_refused(tmp_path, text, words):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    assert works_or_says_why(lambda: load_yaml(path)) is None
    with pytest.raises(InputError, match=words):
        load_yaml(path)


def test_a_document_of_many_references_is_read_once(tmp_path):
    """Ten to the thirtieth items, if they were copied."""
    path = tmp_path / "suites" / "mine.yaml"
    path.parent.mkdir()
    lines = ["title: &a0 [x, x]"]
    lines += [f"t{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    path.write_text("\n".join([*lines, "tasks: *a29"]))
    assert works_or_says_why(lambda: load_suite("mine", tmp_path)) is None


@pytest.mark.parametrize(
    "value",
    [
        "z" * 10_000_000,
        "z z " * 2_000_000,
        ["z" * 1000] * 1000,
        {"z" * 1000: "z" * 1000},
        "z'" * 999,
    ],
)
def test_a_message_quotes_at_most_300_characters(tmp_path, value):
    """Whether it was shortened where it is quoted, or only where all messages are made."""
    path = tmp_path / ("z" * 150) / "file.yaml"
    for what in (f"unknown suite {value!r}", f"{quote(value)} is no number"):
        error = InputError(what, str(path), "use another")
        assert str(error).isprintable()
        assert str(error).count("z") <= 300
    assert len(quote(value)) <= 80
    assert len(str(InputError(f"no column {value}", f"{value}", f"not {value}"))) <= 1410
    with pytest.raises(InputError) as caught:
        check(dict[str, number()], {"key": value}, "file")
    assert str(caught.value).count("z") <= 80


def test_what_cannot_be_printed_is_escaped():
    assert str(InputError("a\x1b[31m\x00b\nc", "d\ud800")) == r"a\x1b[31m\x00b c; in d\ud800"


# --- checkpoints --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sharded(checkpoint_dir, tmp_path_factory):
    """A checkpoint in two files and an index."""
    folder = tmp_path_factory.mktemp("sharded")
    shutil.copyfile(checkpoint_dir / "config.json", folder / "config.json")
    tensors = load_file(checkpoint_dir / "model.safetensors")
    names = sorted(tensors)
    files = {"a.safetensors": names[:10], "b.safetensors": names[10:]}
    for name, part in files.items():
        save_file({key: tensors[key] for key in part}, folder / name, metadata={"format": "pt"})
    weight_map = {key: name for name, part in files.items() for key in part}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def forecast(folder):
    """Load a checkpoint; where that works, the forecast must too."""
    load_model(folder)
    pipeline = Chronos2VariantPipeline.from_pretrained(folder, variant="sparse_r2")
    series = np.sin(np.arange(40.0))
    assert np.isfinite(pipeline.predict([series], prediction_length=3)[0].numpy()).all()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_a_spoilt_file_of_a_checkpoint_works_or_gets_a_line(sharded, tmp_path, name):
    folder = tmp_path / "checkpoint"
    shutil.copytree(sharded, folder)
    document = json.loads((folder / name).read_text())
    forecast(folder)  # as it is, it works

    @bounded
    @given(spoilt(document))
    def check(spoilt_document):
        (folder / name).write_text(json.dumps(spoilt_document))
        works_or_says_why(lambda: forecast(folder))

    check()


@pytest.mark.parametrize(
    "fields",
    [
        {"d_model": -1},
        {"d_model": True},
        {"d_model": 100_000, "d_ff": 1_000_000},
        {"num_layers": 1000, "d_ff": 1_000_000},
        {"chronos_config": None},
        {"chronos_config": []},
        {"d_kv": 7},
        {"dropout_rate": float("nan")},
        {"layer_norm_epsilon": 0.0},
        {"feed_forward_proj": "gated-gelu"},
        {"feed_forward_proj": "nosuch"},
    ],
)
def test_a_config_that_describes_no_model_is_refused(sharded, tmp_path, fields):
    folder = tmp_path / "checkpoint"
    shutil.copytree(sharded, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    assert works_or_says_why(lambda: load_model(folder)) is None


def test_fields_of_other_models_cost_nothing(sharded, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(sharded, folder)
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), "num_labels": 10_000_000, "is_decoder": 3}
    path.write_text(json.dumps(config))
    assert works_or_says_why(lambda: load_model(folder)) is not None
