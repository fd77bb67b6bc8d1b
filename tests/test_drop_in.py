"""Our class in the place of upstream's: the same calls, the same results, files that both load."""

import json
import os
import shutil

import fev
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
import torch
from chronos import BaseChronosPipeline
from chronos.base import PipelineRegistry
from chronos.chronos2 import Chronos2Dataset, Chronos2Model, Chronos2Pipeline
from chronos.chronos2.dataset import DatasetMode
from chronos.chronos2.preprocess import from_list_of_dicts
from hub_server import HubServer
from safetensors.torch import load_file, save_file
from transformers.trainer_callback import TrainerCallback

from chronos2_attention import Chronos2VariantPipeline, InputError

TOLERANCE = 1e-5
HORIZON = 20


def series(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).cumsum(-1).astype(np.float32)


SERIES = [series(60 + 9 * i, seed=i) for i in range(6)]


@pytest.fixture(scope="module")
def upstream(checkpoint_dir):
    return Chronos2Pipeline.from_pretrained(checkpoint_dir)


@pytest.fixture(scope="module")
def ours(checkpoint_dir):
    return Chronos2VariantPipeline.from_pretrained(checkpoint_dir)


def assert_equal(found, wanted, tolerance=TOLERANCE):
    """Compare the results of a call: tensors, frames, and lists and tuples of them."""
    assert type(found) is type(wanted)
    if isinstance(wanted, torch.Tensor):
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    elif isinstance(wanted, pd.DataFrame):
        pd.testing.assert_frame_equal(found, wanted, rtol=tolerance, atol=tolerance)
    else:
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_equal(one, other, tolerance)


def differ(found, wanted):
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True)) > 1e-3


# --- loading ------------------------------------------------------------------------------------

EVERY_PART = ("shared", "input_patch_embedding", "encoder", "output_patch_embedding")
LOADS = {
    "nothing": {},
    "dtype auto": {"dtype": "auto"},
    "dtype None": {"dtype": None},
    "dtype": {"dtype": torch.bfloat16},
    "dtype by name": {"dtype": "bfloat16"},
    "torch_dtype": {"torch_dtype": torch.float64},
    "attn_implementation eager": {"attn_implementation": "eager"},
    "attn_implementation sdpa": {"attn_implementation": "sdpa"},
    "device_map": {"device_map": "cpu"},
    "device_map auto": {"device_map": "auto"},
    "device_map device": {"device_map": torch.device("cpu")},
    "device_map dict": {"device_map": {"": "cpu"}},
    "device_map parts": {"device_map": dict.fromkeys(EVERY_PART, "cpu")},
    "memory": {"low_cpu_mem_usage": True, "max_memory": {"cpu": "1GB"}, "device_map": "auto"},
    "safetensors": {"use_safetensors": True},
    "the hub's": {
        "revision": "main", "cache_dir": None, "token": None, "force_download": False,
        "local_files_only": True, "trust_remote_code": False, "subfolder": "",
    },
    "field of the configuration": {"dropout_rate": 0.25},
}  # fmt: skip


def settings_of(pipeline):
    model, config = pipeline.model, pipeline.model.config
    kinds = {name: tensor.dtype for name, tensor in model.named_parameters()}
    kinds |= {name: tensor.dtype for name, tensor in model.named_buffers()}
    shared = (config.dtype, config._attn_implementation, config.dropout_rate, config.name_or_path)
    return kinds, *shared, config.architectures, model.device, model.training, model.name_or_path


@pytest.mark.parametrize("arguments", LOADS.values(), ids=LOADS)
def test_arguments_of_loading_mean_what_they_mean_upstream(checkpoint_dir, arguments):
    wanted = Chronos2Pipeline.from_pretrained(checkpoint_dir, **arguments)
    found = Chronos2VariantPipeline.from_pretrained(checkpoint_dir, **arguments)
    assert settings_of(found) == settings_of(wanted)
    is_bfloat16 = wanted.model.dtype == torch.bfloat16
    forecasts = (p.predict(SERIES, prediction_length=HORIZON) for p in (found, wanted))
    assert_equal(*forecasts, tolerance=0.1 if is_bfloat16 else TOLERANCE)


def test_subfolder_and_configuration_from_elsewhere(checkpoint_dir, tmp_path, ours):
    shutil.copytree(checkpoint_dir, tmp_path / "models" / "small")
    wanted = ours.predict(SERIES, prediction_length=HORIZON)
    for arguments in (
        {"subfolder": "models/small"},
        {"subfolder": "models/small", "config": ours.model.config},
        {"subfolder": "models/small", "config": str(checkpoint_dir)},
    ):
        found = Chronos2VariantPipeline.from_pretrained(tmp_path, **arguments)
        assert_equal(found.predict(SERIES, prediction_length=HORIZON), wanted)
    with pytest.raises(InputError, match="no folder 'models/large'"):
        Chronos2VariantPipeline.from_pretrained(tmp_path, subfolder="models/large")


@pytest.mark.parametrize("variant", ["full", "sparse_r0"])
def test_parts_that_lie_elsewhere_keep_the_variant(checkpoint_dir, tmp_path, variant):
    """Accelerate binds what it moves to the model that it was given."""
    places = dict.fromkeys(EVERY_PART, "cpu") | {"encoder": "disk"}
    moved = Chronos2VariantPipeline.from_pretrained(
        checkpoint_dir, device_map=places, offload_folder=tmp_path
    ).with_variant(variant)
    plain = Chronos2VariantPipeline.from_pretrained(checkpoint_dir, variant=variant)
    assert_equal(*(p.predict(SERIES, prediction_length=HORIZON) for p in (moved, plain)))


def test_upstreams_front_door_loads_the_class_that_is_registered(checkpoint_dir, monkeypatch):
    monkeypatch.setitem(PipelineRegistry.REGISTRY, "Chronos2Pipeline", Chronos2VariantPipeline)
    pipeline = BaseChronosPipeline.from_pretrained(checkpoint_dir, device_map="cpu")
    assert type(pipeline) is Chronos2VariantPipeline
    assert pipeline.model.dtype == torch.float32


def test_an_address_on_s3_is_fetched_as_upstream_fetches_it(checkpoint_dir, monkeypatch):
    asked = []

    def fetch(address, force_download):
        asked.append((address, force_download))
        return str(checkpoint_dir)

    monkeypatch.setattr("chronos.boto_utils.cache_model_from_s3", fetch)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        "s3://bucket/model", variant="sparse_r0", dtype="bfloat16", force_s3_download=True
    )
    assert asked == [("s3://bucket/model", True)]
    assert (pipeline.variant.name, pipeline.model.dtype) == ("sparse_r0", torch.bfloat16)


def test_a_model_of_upstreams_can_be_given(upstream, ours):
    pipeline = Chronos2VariantPipeline(upstream.model, "sparse_r0")
    wanted = ours.with_variant("sparse_r0").predict(SERIES)
    assert_equal(pipeline.predict(SERIES), wanted)
    assert type(upstream.model) is Chronos2Model


# --- calls --------------------------------------------------------------------------------------

COVARIATES = [
    {
        "target": series(2, n, seed=n),
        "past_covariates": {
            "heat": series(n, seed=1),
            "seen": series(n, seed=2),
            "kind": np.random.default_rng(n).choice(["A", "B", "C"], n),
        },
        "future_covariates": {
            "heat": series(HORIZON, seed=3),
            "kind": np.random.default_rng(n).choice(["A", "B"], HORIZON),
        },
    }
    for n in (50, 99, 33)
]
INPUTS = {
    "tensor": torch.from_numpy(series(4, 1, 37)),
    "multivariate": series(4, 3, 37),
    "ragged": SERIES,
    "ragged multivariate": [series(100), series(2, 150), series(1, 120)],
    "dicts": [{"target": one} for one in SERIES],
    "covariates": COVARIATES,
    "bfloat16": torch.from_numpy(series(4, 2, 64)).bfloat16(),
    "integers": torch.arange(120).reshape(2, 1, 60),
}
CALLS = {
    "predict": lambda p, x: p.predict(x, prediction_length=HORIZON),
    "predict far": lambda p, x: p.predict(x[:2], prediction_length=70),
    "cross_learning": lambda p, x: p.predict(x, prediction_length=HORIZON, cross_learning=True),
    "small batches": lambda p, x: p.predict(x, prediction_length=HORIZON, batch_size=3),
    "short context": lambda p, x: p.predict(x, prediction_length=HORIZON, context_length=20),
    "quantiles": lambda p, x: p.predict_quantiles(x, HORIZON, quantile_levels=[0.05, 0.5, 0.93]),
    "embed": lambda p, x: p.embed(x),
}


# Upstream embeds series only, and the covariates are known for the shorter horizon.
NOT_CALLED = {("embed", "dicts"), ("embed", "covariates"), ("predict far", "covariates")}


@pytest.mark.parametrize(
    ("call", "kind"), sorted({(call, kind) for call in CALLS for kind in INPUTS} - NOT_CALLED)
)
def test_calls_give_what_upstream_gives(upstream, ours, call, kind):
    found, wanted = (CALLS[call](pipeline, INPUTS[kind]) for pipeline in (ours, upstream))
    assert_equal(found, wanted)


def frame(*lengths, **columns):
    parts = [
        pd.DataFrame(
            {
                "item_id": f"s{number}",
                "timestamp": pd.date_range("2024-01-01", periods=length, freq="h"),
                "target": series(length, seed=number),
                **{name: series(length, seed=seed) for name, seed in columns.items()},
            }
        )
        for number, length in enumerate(lengths)
    ]
    return pd.concat(parts, ignore_index=True)


FRAMES = {
    "plain": {"df": frame(40, 40, 70)},
    "targets": {"df": frame(40, 90, other=7), "target": ["target", "other"]},
    "past covariates": {"df": frame(40, 90, heat=7)},
    "levels": {"df": frame(40, 90), "quantile_levels": [0.1, 0.77]},
    "cross_learning": {"df": frame(50, 50), "cross_learning": True},
    "no frequency": {"df": frame(2, 2), "freq": "h", "validate_inputs": False},
}


@pytest.mark.parametrize("arguments", FRAMES.values(), ids=FRAMES)
def test_frames_give_what_upstream_gives(upstream, ours, arguments):
    found, wanted = (p.predict_df(prediction_length=9, **arguments) for p in (ours, upstream))
    assert_equal(found, wanted)


WRONG = {
    "two dimensions": lambda p: p.predict(torch.rand(4, 3)),
    "three dimensions in a list": lambda p: p.predict([torch.rand(1, 2, 9), torch.rand(9)]),
    "unknown key": lambda p: p.predict([{"target": torch.rand(9), "extra": []}]),
    "covariates of other length": lambda p: p.predict(
        [{"target": torch.rand(9), "past_covariates": {"a": torch.rand(8)}}]
    ),
    "future without past": lambda p: p.predict(
        [{"target": torch.rand(9), "future_covariates": {"a": torch.rand(16)}}], 16
    ),
    "no such column": lambda p: p.predict_df(frame(40).drop(columns="target"), prediction_length=3),
    "a gap": lambda p: p.predict_df(frame(40).drop(index=7), prediction_length=3),
    "nothing to train on": lambda p: p.fit(SERIES, prediction_length=900, num_steps=1),
    "mode": lambda p: p.fit(SERIES, prediction_length=4, finetune_mode="half"),
    "lora_config in mode full": lambda p: p.fit(SERIES, prediction_length=4, lora_config={"r": 2}),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_mistakes_are_told_as_upstream_tells_them(upstream, ours, call):
    told = []
    for pipeline in (upstream, ours):
        with pytest.raises((ValueError, AssertionError)) as caught:
            call(pipeline)
        told.append((caught.type, str(caught.value)))
    assert told[0] == told[1]


# --- fine-tuning --------------------------------------------------------------------------------

MODES = ["full", "lora"]
VARIANTS = ["full", "sparse_r0", "joint", "soft_correlation_t5"]


def train(pipeline, folder, inputs=SERIES, **arguments):
    """Fine-tune for some steps, with seeds set where upstream sets none."""
    torch.manual_seed(0)
    options = {"prediction_length": HORIZON, "num_steps": 2, "min_past": 20, "batch_size": 8}
    options |= {"learning_rate": 1e-2, "output_dir": folder, "disable_tqdm": True}
    return pipeline.fit(inputs, **options | arguments)


class Losses(TrainerCallback):
    def __init__(self):
        self.found = []

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.found.append(metrics["eval_loss"])


def sparse_r0(block, args, kwargs):
    """Before one of upstream's blocks: context tokens see themselves, the two future ones all."""
    mask = kwargs["attention_mask"]
    sees = torch.eye(mask.shape[-1], dtype=torch.bool)
    sees[-2:] = True
    lowest = torch.finfo(mask.dtype).min
    return args, kwargs | {"attention_mask": torch.minimum(mask, lowest * ~sees)}


def loss_by_definition(model, batch, variant):
    """Upstream's loss under a variant that upstream's means can express."""
    if variant in ("joint", "soft_correlation_t0"):
        batch = batch | {"group_ids": torch.zeros_like(batch["group_ids"])}
    blocks = model.encoder.block if variant == "sparse_r0" else []
    hooks = [block.register_forward_pre_hook(sparse_r0, with_kwargs=True) for block in blocks]
    loss = model(**batch).loss.item()
    for hook in hooks:
        hook.remove()
    return loss


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "variant", ["full", "sparse_r0", "joint", "soft_correlation_t0", "soft_cosine_t1000000000"]
)
def test_the_loss_of_training_is_that_of_the_variant(upstream, ours, tmp_path, variant, mode):
    losses = Losses()
    pipeline = train(
        ours.with_variant(variant), tmp_path, finetune_mode=mode, validation_inputs=SERIES,
        learning_rate=0.0, num_steps=1, callbacks=[losses],
    )  # fmt: skip
    data = Chronos2Dataset(
        SERIES, ours.model_context_length, HORIZON, 8, 16, mode=DatasetMode.VALIDATION, min_past=1
    )
    model = upstream.model
    with torch.no_grad():
        batches = [{k: v for k, v in b.items() if k != "target_idx_ranges"} for b in data]
        wanted = np.mean([loss_by_definition(model, batch, variant) for batch in batches])
        plain = np.mean([loss_by_definition(model, batch, "full") for batch in batches])
    assert losses.found[-1] == pytest.approx(wanted, abs=1e-4)
    is_plain = variant in ("full", "soft_cosine_t1000000000")  # so strict that groups are left
    assert (abs(wanted - plain) > 1e-3) != is_plain
    assert_equal(pipeline.predict(SERIES), ours.with_variant(variant).predict(SERIES))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_variant_holds_in_and_after_fine_tuning(upstream, ours, tmp_path, variant, mode):
    before = ours.with_variant(variant)
    forecasts = before.predict(SERIES)
    after = train(before, tmp_path / "ours", finetune_mode=mode, validation_inputs=SERIES)
    assert (type(after), after.variant) == (Chronos2VariantPipeline, before.variant)
    assert after.model.settings == before.model.settings
    assert after.weights_fingerprint not in ("", before.weights_fingerprint)
    assert differ(after.predict(SERIES), forecasts)
    assert_equal(before.predict(SERIES), forecasts)
    plain = train(ours, tmp_path / "full", finetune_mode=mode, validation_inputs=SERIES)
    as_full = after.with_variant("full").predict(SERIES)
    if variant == "full":
        wanted = train(upstream, tmp_path / "up", finetune_mode=mode, validation_inputs=SERIES)
        assert_equal(after.predict(SERIES), wanted.predict(SERIES), 1e-4)
    else:
        assert differ(after.predict(SERIES), as_full)
        assert differ(as_full, plain.predict(SERIES)), "the weights were trained without it"

    # What the training saved on its way and at its end, upstream and we load, and what it loads
    # gives the same forecasts.
    final, step = tmp_path / "ours" / "finetuned-ckpt", tmp_path / "ours" / "checkpoint-2"
    after.save_pretrained(tmp_path / "saved")
    for folder in (final, step, tmp_path / "saved"):
        assert_equal(Chronos2Pipeline.from_pretrained(folder).predict(SERIES), as_full)
        loaded = Chronos2VariantPipeline.from_pretrained(folder, variant=variant)
        assert_equal(loaded.predict(SERIES), after.predict(SERIES))
        assert loaded.weights_fingerprint == after.weights_fingerprint


def test_prepared_inputs_and_settings_of_lora(ours, tmp_path):
    inputs = from_list_of_dicts(COVARIATES, prediction_length=HORIZON)
    lora = {"r": 2, "lora_alpha": 4, "target_modules": ["self_attention.o", "mlp.wo"]}
    sparse = ours.with_variant("sparse_r0")
    after = train(sparse, tmp_path, inputs, finetune_mode="lora", lora_config=lora, min_past=1)
    assert differ(after.predict(COVARIATES, HORIZON), sparse.predict(COVARIATES, HORIZON))
    merged = Chronos2VariantPipeline(after.model.merge_and_unload(), "sparse_r0")
    assert_equal(merged.predict(COVARIATES, HORIZON), after.predict(COVARIATES, HORIZON))


def test_a_longer_horizon_is_learnt_and_saved(ours, tmp_path):
    long = [series(300, seed=seed) for seed in range(4)]
    after = train(ours, tmp_path, long, prediction_length=100, num_steps=1)
    assert ours.max_output_patches == 4
    assert after.max_output_patches == 7
    loaded = Chronos2VariantPipeline.from_pretrained(tmp_path / "finetuned-ckpt")
    assert loaded.max_output_patches == 7


@pytest.mark.parametrize(
    ("variant", "mode"), [*((variant, "full") for variant in VARIANTS), ("sparse_r0", "lora")]
)
def test_a_fev_task_is_fine_tuned_under_the_variant(upstream, ours, tmp_path, variant, mode):
    rows = frame(60, 90, 75).groupby("item_id").agg(list).reset_index(names="id")
    rows.to_parquet(tmp_path / "series.parquet")
    task = fev.Task(
        dataset_path=str(tmp_path / "series.parquet"), horizon=7, num_windows=2, seasonality=24,
        eval_metric="MASE", quantile_levels=[0.1, 0.5, 0.9],
    )  # fmt: skip
    options = {"num_steps": 2, "min_past": 10, "learning_rate": 1e-2, "finetune_mode": mode}

    def forecast(pipeline, **changes):
        torch.manual_seed(0)
        options["output_dir"] = tmp_path / "training"
        found, _ = pipeline.predict_fev(task, finetune_kwargs=options | changes)
        return [torch.tensor(np.array(window["target"]["predictions"])) for window in found]

    found = forecast(ours.with_variant(variant))
    wanted = forecast(upstream)
    if variant == "full":
        assert_equal(found, wanted, 1e-4)
    else:
        assert differ(found, wanted)
    untrained = forecast(ours.with_variant(variant), learning_rate=0.0)
    assert differ(found, untrained)
    plain, _ = ours.with_variant(variant).predict_fev(task)
    assert_equal(
        untrained,
        [torch.tensor(np.array(window["target"]["predictions"])) for window in plain],
        1e-4,
    )


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_either_saves_the_other_loads(upstream, ours, tmp_path, variant):
    ours.with_variant(variant).save_pretrained(tmp_path / "ours")
    upstream.save_pretrained(tmp_path / "upstream")
    configs = [json.loads((tmp_path / n / "config.json").read_text()) for n in ("ours", "upstream")]
    assert configs[0] == configs[1]
    assert configs[0]["architectures"] == ["Chronos2Model"]
    for kind in (Chronos2Pipeline, BaseChronosPipeline):
        loaded = kind.from_pretrained(tmp_path / "ours")
        assert type(loaded.model) is Chronos2Model
        assert_equal(loaded.predict(SERIES), upstream.predict(SERIES))
    loaded = Chronos2VariantPipeline.from_pretrained(tmp_path / "upstream")
    assert loaded.weights_fingerprint == ours.weights_fingerprint


@pytest.fixture(scope="module")
def adapter(ours, tmp_path_factory):
    """An adapter of the small checkpoint, as fine-tuning saves it."""
    folder = tmp_path_factory.mktemp("adapter")
    train(ours, folder, finetune_mode="lora")
    return folder / "finetuned-ckpt"


def spoil_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors, sorted(tensors)[0])
    save_file(tensors, path)


def spoil_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# What happens to an adapter, and what the message says.
SPOILED = {
    "missing": (lambda f: spoil_tensors(f, lambda t, n: t.pop(n)), "missing 'base_model"),
    "renamed": (lambda f: spoil_tensors(f, lambda t, n: t.update(x=t.pop(n))), "unexpected 'x'"),
    "NaN": (lambda f: spoil_tensors(f, lambda t, n: t[n].fill_(np.nan)), "is not finite"),
    "int64": (lambda f: spoil_tensors(f, lambda t, n: t.update({n: t[n].long()})), "int64"),
    "beyond float32": (
        lambda f: spoil_tensors(f, lambda t, n: t.update({n: t[n].double() * 1e300})),
        "is not finite as float32",
    ),
    "shape": (lambda f: spoil_tensors(f, lambda t, n: t.update({n: t[n][:1].clone()})), "size"),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "no adapter_model"),
    "pickled": (
        lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
        "pickled weights 'adapter_model.bin'",
    ),
    "no JSON": (lambda f: (f / "adapter_config.json").write_text("{"), "not a JSON file"),
    "no model": (lambda f: spoil_config(f, base_model_name_or_path=None), "no adapter of"),
    "absent model": (lambda f: spoil_config(f, base_model_name_or_path="/no/where"), "/no/where"),
    "itself": (lambda f: spoil_config(f, base_model_name_or_path=str(f)), "adapter of the adapter"),
    "code to import": (
        lambda f: spoil_config(f, megatron_config={"a": 1}, megatron_core="os"),
        "no adapter of",
    ),
    "rank": (lambda f: spoil_config(f, r=3), "size"),
    "kind": (lambda f: spoil_config(f, peft_type="NONE"), "cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_an_adapter_loads_strictly_too(adapter, tmp_path, name):
    spoil, word = SPOILED[name]
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    spoil(folder)
    with pytest.raises(InputError) as caught:
        Chronos2VariantPipeline.from_pretrained(folder)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_adapter_refers_to_its_model_as_upstreams_does(adapter, checkpoint_dir, monkeypatch):
    """By the name that the model was loaded by; nothing that an adapter names is imported."""
    content = json.loads((adapter / "adapter_config.json").read_text())
    assert content["base_model_name_or_path"] == str(checkpoint_dir)
    mapping = {"base_model_class": "Chronos2Model", "parent_library": "chronos.chronos2.model"}
    assert content["auto_mapping"] == mapping
    wanted = Chronos2VariantPipeline.from_pretrained(adapter).predict(SERIES)
    spoil_config(adapter, auto_mapping={"base_model_class": "system", "parent_library": "os"})
    monkeypatch.setattr(os, "system", None)
    assert_equal(Chronos2VariantPipeline.from_pretrained(adapter).predict(SERIES), wanted)


def test_models_and_adapters_on_the_hub(adapter, checkpoint_dir, tmp_path, monkeypatch):
    """A model in a subfolder of a repository, an adapter in another, in a cache of one's own."""
    model = {f"small/{path.name}": path.read_bytes() for path in checkpoint_dir.iterdir()}
    spoil_config(shutil.copytree(adapter, tmp_path / "adapter"), base_model_name_or_path="us/whole")
    lora = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    pickles = {"pytorch_model.bin": b"a pickle", "small/pytorch_model.bin": b"a pickle"}
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with HubServer() as server:
        template = server.base + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.base)
        whole = {name.removeprefix("small/"): body for name, body in model.items()}
        for name, files in {"parts": model, "whole": whole, "lora": lora}.items():
            server.add("model", f"us/{name}", "c" * 40, files | pickles)
        place = {"cache_dir": tmp_path / "cache", "token": "hf_x", "revision": "c" * 40}

        def load(name, **arguments):
            return Chronos2VariantPipeline.from_pretrained(name, **place | arguments)

        found = load("us/parts", subfolder="small", force_download=True)
        assert found.model.config.name_or_path == "us/parts"
        again = load("us/parts", subfolder="small", local_files_only=True)
        wanted = Chronos2VariantPipeline.from_pretrained(checkpoint_dir).predict(SERIES)
        assert_equal(found.predict(SERIES), wanted)
        assert_equal(again.predict(SERIES), wanted)
        adapted = Chronos2VariantPipeline.from_pretrained(adapter).predict(SERIES)
        server_side = Chronos2VariantPipeline.from_pretrained(
            "us/lora", cache_dir=place["cache_dir"]
        )
        assert_equal(server_side.predict(SERIES), adapted)
        with pytest.raises(InputError, match="no checkpoint 'us/absent'"):
            load("us/absent")
    assert not list((tmp_path / "cache").rglob("*.bin"))
