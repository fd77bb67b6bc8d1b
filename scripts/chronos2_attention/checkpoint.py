"""Reading a checkpoint strictly: safetensors only, every tensor accounted for, no code run.

The weights are read and checked here, and handed to `transformers` in memory, so that what was
checked is what runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from chronos.chronos2.config import Chronos2CoreConfig
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers.initialization import no_init_weights

from .architecture import FETCH_AGAIN, Architecture, check_config, read_index, read_json
from .errors import InputError, explained
from .model import Chronos2VariantModel

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ONLY_SAFETENSORS = "only safetensors are read; save the model with save_pretrained first"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

HUB_ARGUMENTS = ("revision", "cache_dir", "token", "local_files_only", "force_download")

# Arguments of `transformers` that would load loosely, read pickles or run code, and the values of
# them that do not.
REFUSED = {
    "trust_remote_code": (None, False),
    "use_kernels": (None, False),
    "kernel_config": (None,),
    "allow_all_kernels": (None, False),
    "use_safetensors": (None, True),
    "weights_only": (None, True),
    "ignore_mismatched_sizes": (None, False),
    "key_mapping": (None,),
    "state_dict": (None,),
    "gguf_file": (None,),
}


def resolve(name_or_path: str | Path, subfolder: str = "", **hub_arguments) -> Path:
    """Return the folder of a checkpoint, downloading it from the hub if it is not a folder."""
    folder = Path(name_or_path)
    if not folder.is_dir():
        files = ["config.json", "*.safetensors", WEIGHTS_INDEX, ADAPTER]
        wanted = [f"{subfolder}/{name}" if subfolder else name for name in files]
        try:
            fetched = snapshot_download(str(name_or_path), allow_patterns=wanted, **hub_arguments)
        except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, OSError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"no checkpoint '{name_or_path}': {reason}",
                mend="give an existing folder, or a hub repository that can be reached",
            ) from error
        folder = Path(fetched)
    if not (folder / subfolder).is_dir():
        raise InputError(f"no folder '{subfolder}'", str(folder), "correct subfolder")
    return folder / subfolder


def read_config(
    folder: Path, given: Any = None, **changes: Any
) -> tuple[Chronos2CoreConfig, dict[str, Any]]:
    """Return the configuration of a Chronos-2 checkpoint, and those arguments that are not of it.

    `given` is a configuration, or its file or folder, to use instead of the checkpoint's;
    `changes` holds fields to change, among other arguments.
    """
    path = folder / "config.json"
    if hasattr(given, "to_dict"):
        content = given.to_dict()
    else:
        path = path if given is None else Path(given)
        path = path / "config.json" if path.is_dir() else path
        if not path.is_file():
            refuse_other_formats(path.parent)
            raise InputError(
                "checkpoint without config.json", str(path.parent), "give a checkpoint folder"
            )
        content = read_json(path)
    known = Architecture.model_fields.keys() & changes.keys()
    content |= {name: changes.pop(name) for name in known}
    checked = check_config(content, str(path))
    with explained("cannot be used", path, FETCH_AGAIN):
        return Chronos2CoreConfig.from_dict(checked, return_unused_kwargs=True, **changes)


def refuse_other_formats(folder: Path) -> None:
    """Raise `InputError` if the folder holds pickled weights."""
    for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle"):
        for path in sorted(folder.glob(pattern)):
            raise InputError(f"pickled weights '{path.name}'", str(folder), ONLY_SAFETENSORS)


def read_tensors(folder: Path, weights: str = WEIGHTS) -> dict[str, torch.Tensor]:
    """Read all tensors of a checkpoint, sharded or not, in the dtype of the file."""
    index = folder / WEIGHTS_INDEX
    weight_map = None
    if (folder / weights).is_file():
        names = [weights]
    elif weights == WEIGHTS and index.is_file():
        weight_map = read_index(index)
        names = sorted(set(weight_map.values()))
    else:
        refuse_other_formats(folder)
        raise InputError(f"no {weights}", str(folder), ONLY_SAFETENSORS)
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        path = folder / name
        readable = explained("unreadable weights", path, errors=(SafetensorError, OSError))
        with readable, safe_open(path, framework="pt") as handle:
            found = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
        for key in found:
            if weight_map is not None and weight_map.get(key) != name:
                raise InputError(f"tensor '{key}' is not in the index", str(path), "fetch it again")
        tensors |= found
    return tensors


def fingerprint(tensors: Mapping[str, torch.Tensor], base: str = "") -> str:
    """Return 16 hex digits that identify weights, and the fingerprint of an adapter's `base`."""
    digest = hashlib.sha256(base.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def check_names_and_shapes(
    wanted: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], where: Path
) -> None:
    """Raise `InputError`, naming the tensors, unless they fit those wanted exactly."""
    need = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    faults = [f"missing '{name}'" for name in sorted(need.keys() - found.keys())]
    faults += [f"unexpected '{name}'" for name in sorted(found.keys() - need.keys())]
    unlike = sorted(n for n in need.keys() & found.keys() if need[n] != found[n])
    faults += [f"'{n}' has shape {found[n]} instead of {need[n]}" for n in unlike]
    if faults:
        shown = ", ".join(faults[:6]) + (f" and {len(faults) - 6} more" if len(faults) > 6 else "")
        raise InputError(f"checkpoint does not fit the model: {shown}", str(where), FETCH_AGAIN)


def cast(
    tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, where: Path, may_be_zero: bool = False
) -> dict[str, torch.Tensor]:
    """Return weights in `dtype`; one that is not finite there, or all zero, is an `InputError`."""
    found = {}
    for name, tensor in tensors.items():
        fault, kind = "", str(tensor.dtype).removeprefix("torch.")
        if not tensor.is_floating_point():
            fault = f"holds {kind} instead of floating point numbers"
        else:
            found[name] = tensor.to(dtype)
            if not torch.isfinite(found[name]).all():
                fault = f"is not finite as {str(dtype).removeprefix('torch.')} (stored as {kind})"
            elif not (may_be_zero or name.endswith(".bias") or found[name].any()):
                fault = "is zero throughout"
        if fault:
            raise InputError(f"tensor '{name}' {fault}", str(where), "fetch it again")
    return found


def choose_dtype(
    asked: torch.dtype | str | None,
    config: Chronos2CoreConfig,
    tensors: dict[str, torch.Tensor],
    where: Path,
) -> torch.dtype:
    """Return the dtype of `DTYPES` to load in; None and ``"auto"`` mean the checkpoint's."""
    dtype, place = asked, ""
    if asked is None or asked == "auto":
        stored = (t.dtype for t in tensors.values() if t.is_floating_point())
        dtype, place = config.dtype or next(stored, torch.float32), str(where)
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype.removeprefix("torch."), dtype)
    if dtype not in DTYPES:
        known = ", ".join(str(known).removeprefix("torch.") for known in DTYPES)
        raise InputError(f"unknown dtype '{dtype}'", place, f"use one of: {known}")
    return dtype


def load_model(
    folder: Path, dtype: torch.dtype | str | None = None, **kwargs: Any
) -> tuple[Chronos2VariantModel, str]:
    """Load a checkpoint strictly.

    Parameters
    ----------
    folder:
        Holds ``config.json`` and safetensors.
    dtype:
        Of the parameters in memory; by default that of the checkpoint.
    **kwargs:
        Fields of the configuration to change, and arguments of
        `transformers.PreTrainedModel.from_pretrained`, such as device_map.

    Returns
    -------
    The model in evaluation mode, and the fingerprint of the weights as they are in the file.

    Raises
    ------
    InputError
        If one tensor is missing, unexpected, of another shape, not of floating point numbers, not
        finite in `dtype` or zero throughout, if the weights are not safetensors, or if the model
        cannot be built as config.json says.
    """
    for name in REFUSED.keys() & kwargs.keys():
        if kwargs.pop(name) not in REFUSED[name]:
            reason = "weights load strictly, from safetensors alone, and no code comes with them"
            raise InputError(f"{name} is not supported: {reason}", mend="leave it out")
    config, kwargs = read_config(folder, kwargs.pop("config", None), **kwargs)
    tensors = read_tensors(folder)
    if config.num_layers > len(tensors):  # not worth building
        reason = f"{config.num_layers} layers, and {len(tensors)} tensors"
        raise InputError(reason, str(folder), FETCH_AGAIN)
    built = explained("no model can be built", folder / "config.json", FETCH_AGAIN)
    with built, no_init_weights(), torch.device("meta"):
        wanted = Chronos2VariantModel(config).state_dict()
    check_names_and_shapes(wanted, tensors, folder)
    dtype = choose_dtype(dtype, config, tensors, folder)
    model = Chronos2VariantModel.from_pretrained(
        None, config=config, state_dict=cast(tensors, dtype, folder), dtype=dtype, **kwargs
    )
    return model, fingerprint(tensors)


def load(
    name_or_path: str | Path, dtype: torch.dtype | str | None = None, **kwargs: Any
) -> tuple[Chronos2VariantModel, str]:
    """Load a model, or an adapter merged into its model, see `resolve` and `load_model`."""
    place = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs}
    folder = resolve(name_or_path, kwargs.pop("subfolder", None) or "", **place)
    kwargs.pop("import_allowlist", None)  # nothing is imported that an adapter names
    if (folder / ADAPTER).is_file():
        return _load_adapter(folder, dtype, place, kwargs)
    model, identity = load_model(folder, dtype, **kwargs)
    # As upstream names it; an adapter made of this model refers to it by this name.
    model.config.name_or_path = model.name_or_path = str(name_or_path)
    return model, identity


def _load_adapter(
    folder: Path, dtype: Any, place: dict[str, Any], kwargs: dict[str, Any]
) -> tuple[Chronos2VariantModel, str]:
    """Load the model that the adapter in `folder` belongs to, and merge the adapter into it."""
    path = folder / ADAPTER
    content = read_json(path)
    base = content.get("base_model_name_or_path")
    if not isinstance(base, str) or not base or content.get("megatron_config"):
        raise InputError("no adapter of a Chronos-2 model", str(path), "fetch it again")
    tensors = read_tensors(folder, ADAPTER_WEIGHTS)
    name = kwargs.pop("adapter_name", "default")
    model_place = resolve(base, **place | {"revision": content.get("revision")})
    if (model_place / ADAPTER).is_file():
        raise InputError(f"an adapter of the adapter '{base}'", str(path), "merge that one first")
    model, base_fingerprint = load_model(model_place, dtype, **kwargs)
    cast(tensors, model.dtype, folder, may_be_zero=True)
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ImportError as error:
        raise InputError("an adapter, and no peft", str(folder), "pip install peft") from error
    with explained("cannot be used", path):
        adapted = PeftModel.from_pretrained(model, folder, adapter_name=name)
    check_names_and_shapes(get_peft_model_state_dict(adapted, adapter_name=name), tensors, folder)
    with explained("cannot be merged", folder, errors=ValueError):
        merged = adapted.merge_and_unload(safe_merge=True)
    merged.config.name_or_path = merged.name_or_path = str(folder)
    return merged, fingerprint(tensors, base_fingerprint)
