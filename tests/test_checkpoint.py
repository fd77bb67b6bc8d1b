"""Checkpoints are read strictly, and only from safetensors."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from chronos2_attention import Chronos2VariantPipeline, InputError
from chronos2_attention.checkpoint import fingerprint


@pytest.fixture
def folder(checkpoint_dir, tmp_path):
    return shutil.copytree(checkpoint_dir, tmp_path / "checkpoint")


def edit(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def load(folder, **kwargs):
    return Chronos2VariantPipeline.from_pretrained(folder, **kwargs)


def change(tensors, function):
    tensors[NAME] = function(tensors[NAME])


def refused(folder, **kwargs):
    with pytest.raises(InputError) as caught:
        load(folder, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NAN = float("nan")
NAME = "encoder.block.1.layer.0.self_attention.q.weight"


# What happens to the weights, the dtype to load in, and what the message says of them.
UNFIT = {
    "renamed": (
        lambda t: t.update({f"{NAME}_old": t.pop(NAME)}),
        None,
        (f"missing '{NAME}'", f"unexpected '{NAME}_old'"),
    ),
    "missing": (lambda t: t.pop("shared.weight"), None, ("missing 'shared.weight'",)),
    "shape": (lambda t: change(t, lambda w: w[:-1].clone()), None, (f"'{NAME}' has shape",)),
    "NaN": (lambda t: t[NAME].fill_(NAN), None, (f"'{NAME}' is not finite",)),
    "one inf": (lambda t: t[NAME].view(-1)[7:8].fill_(NAN), None, (f"'{NAME}' is not finite",)),
    "int64": (lambda t: change(t, torch.Tensor.long), None, (f"'{NAME}'", "int64")),
    "uint8": (lambda t: change(t, torch.Tensor.byte), None, (f"'{NAME}'", "uint8")),
    "bool": (lambda t: change(t, torch.Tensor.bool), None, (f"'{NAME}'", "bool")),
    "complex": (lambda t: change(t, lambda w: w + 0j), None, (f"'{NAME}'", "complex64")),
    "zeros": (lambda t: t[NAME].zero_(), None, (f"'{NAME}' is zero throughout",)),
    "zeros of a norm": (
        lambda t: t["encoder.final_layer_norm.weight"].zero_(),
        None,
        ("'encoder.final_layer_norm.weight' is zero throughout",),
    ),
    "beyond float32": (
        lambda t: change(t, lambda w: w.double() * 1e300),
        "float32",
        (f"'{NAME}' is not finite as float32 (stored as float64)",),
    ),
    "beyond the dtype of the checkpoint": (
        lambda t: change(t, lambda w: w.double() * 1e300),
        "auto",
        (f"'{NAME}' is not finite as float32",),
    ),
    "below float32": (
        lambda t: change(t, lambda w: w.double() * 1e-300),
        None,
        (f"'{NAME}' is zero throughout",),
    ),
    "beyond float16": (
        lambda t: t[NAME].view(-1)[:1].fill_(1e6),
        torch.float16,
        (f"'{NAME}' is not finite as float16",),
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_tensor_that_does_not_fit_is_named(folder, name):
    spoil, dtype, words = UNFIT[name]
    edit(folder, spoil)
    message = refused(folder, dtype=dtype)
    for word in words:
        assert word in message, message


def test_weights_in_another_floating_dtype_are_cast(folder):
    edit(folder, lambda t: change(t, torch.Tensor.double))
    loaded = load(folder).model.state_dict()[NAME]
    assert loaded.dtype == torch.float32


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_pickled_weights_are_refused_unread(folder, name):
    (folder / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('the pickle was read')",))

    (folder / name).write_bytes(pickle.dumps(Bomb()))
    message = refused(folder)
    assert f"pickled weights '{name}'" in message
    assert "safetensors" in message


def test_no_weights_and_no_config_are_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "no model.safetensors" in refused(folder)
    (folder / "config.json").unlink()
    assert "without config.json" in refused(folder)


def test_a_truncated_file_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "unreadable weights" in refused(folder)


def test_another_models_config_is_refused(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["chronos_config"]
    path.write_text(json.dumps(config))
    assert "no chronos_config" in refused(folder)


# Keys of config.json, their values, and what the message says; a value None leaves the key out.
CONFIGS = {
    "size below 1": ("d_model", -1, "d_model: -1 should be at least 1"),
    "sizes whose product fits": ("num_heads", -4, "num_heads: -4 should be at least 1"),
    "size as text": ("d_ff", "64", "d_ff: '64' should be a whole number"),
    "size that is no whole number": ("d_kv", 8.0, "d_kv: 8.0 should be a whole number"),
    "more layers than are held": ("num_layers", 1000, "1000 layers"),
    "more layers than can be built": ("num_layers", 10**8, "num_layers: 100000000 should be"),
    "size beyond all memory": ("d_model", 2**20, "has shape (32,) instead of"),
    "size beyond all sizes": ("d_model", 2**31 - 1, "d_model: 2147483647 should be at most"),
    "not finite": ("rope_theta", NAN, "rope_theta: nan should be a finite"),
    "activation": ("dense_act_fn", "tan", "'tan' is no activation"),
    "dtype": ("dtype", "int7", "unknown dtype"),
    "dtype that cannot hold weights": ("dtype", "int64", "unknown dtype"),
    "attention from elsewhere": ("attn_implementation", "someone/kernels", "attn_implementation"),
    "forecasting null": ("chronos_config", None, "no chronos_config"),
    "forecasting a list": ("chronos_config", [], "chronos_config: [] should be a mapping"),
    "context": ("chronos_config.context_length", 0, "chronos_config.context_length: 0"),
    "levels": ("chronos_config.quantiles", [0.9, 0.1], "quantiles: levels are not in"),
    "level": ("chronos_config.quantiles", [0.1, 1.5], "chronos_config.quantiles[1]: 1.5"),
    "patches": ("chronos_config.output_patch_size", 8, "output_patch_size differ"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_that_cannot_be_used_is_named(folder, name):
    place, value, word = CONFIGS[name]
    config = json.loads((folder / "config.json").read_text())
    *outer, key = place.split(".")
    part = config[outer[0]] if outer else config
    part[key] = value
    if value is None:
        del part[key]
    (folder / "config.json").write_text(json.dumps(config))
    message = refused(folder)
    assert word in message
    assert str(folder) in message


def test_what_chronos_does_not_read_of_a_configuration_is_left_alone(folder):
    config = json.loads((folder / "config.json").read_text())
    strange = {
        "num_labels": 10**9,
        "auto_map": {"AutoModel": "evil.Model"},
        "quantization_config": 3,
    }
    (folder / "config.json").write_text(json.dumps(config | strange))
    assert not hasattr(load(folder).model.config, "auto_map")


# Arguments that load loosely, read pickles or run code.
LOOSE = [
    {"trust_remote_code": True},
    {"use_kernels": True},
    {"use_safetensors": False},
    {"weights_only": False},
    {"ignore_mismatched_sizes": True},
    {"key_mapping": {"a": "b"}},
    {"state_dict": {}},
    {"gguf_file": "model.gguf"},
]


@pytest.mark.parametrize("arguments", LOOSE, ids=lambda arguments: next(iter(arguments)))
def test_loose_loading_is_refused(folder, arguments):
    assert next(iter(arguments)) in refused(folder, **arguments)


def test_unknown_arguments_are_refused(folder):
    with pytest.raises(TypeError, match="quantise"):
        load(folder, quantise=8)
    with pytest.raises(InputError, match="unknown dtype"):
        load(folder, dtype="int7")


def test_sharded_checkpoints_load(folder):
    whole = load(folder)
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert load(folder).weights_fingerprint == whole.weights_fingerprint
    content = json.loads(index.read_text())
    for wrong in ({}, {NAME: "../model.safetensors"}, {NAME: 3}, [], weight_map | {NAME: file}):
        index.write_text(json.dumps(content | {"weight_map": wrong}))
        assert "index" in refused(folder)
    index.write_text(json.dumps(content))
    (folder / file).unlink()
    assert "unreadable weights" in refused(folder)


def test_the_fingerprint_follows_every_value(folder):
    tensors = load_file(folder / "model.safetensors")
    first = fingerprint(tensors)
    assert (
        first
        == load(folder).weights_fingerprint
        == load(folder, dtype="bfloat16").weights_fingerprint
    )
    tensors[NAME][0, 0] += 1e-3
    assert fingerprint(tensors) != first


def test_dtype_and_saving(folder, tmp_path):
    pipeline = load(folder, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in pipeline.model.parameters()} == {torch.bfloat16}
    load(folder).save_pretrained(tmp_path / "saved")
    assert load(tmp_path / "saved").weights_fingerprint == load(folder).weights_fingerprint
