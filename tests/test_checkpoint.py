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


def refused(folder):
    with pytest.raises(InputError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NAME = "encoder.block.1.layer.0.self_attention.q.weight"


def test_a_renamed_tensor_is_named(folder):
    edit(folder, lambda tensors: tensors.update({f"{NAME}_old": tensors.pop(NAME)}))
    message = refused(folder)
    assert f"missing '{NAME}'" in message
    assert f"unexpected '{NAME}_old'" in message


def test_a_missing_tensor_is_named(folder):
    edit(folder, lambda tensors: tensors.pop("shared.weight"))
    assert "missing 'shared.weight'" in refused(folder)


def test_a_tensor_of_another_shape_is_named(folder):
    edit(folder, lambda tensors: tensors.update({NAME: tensors[NAME][:-1].clone()}))
    assert f"'{NAME}' has shape" in refused(folder)


def test_a_tensor_that_is_not_finite_is_named(folder):
    edit(folder, lambda tensors: tensors[NAME].fill_(float("nan")))
    assert f"'{NAME}' is not finite" in refused(folder)


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


def test_an_adapter_is_refused(folder):
    for path in folder.iterdir():
        path.unlink()
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter" in refused(folder)


def test_remote_code_and_unknown_arguments_are_refused(folder):
    with pytest.raises(InputError, match="trust_remote_code"):
        load(folder, trust_remote_code=True)
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
