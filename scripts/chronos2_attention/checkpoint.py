"""Reading a checkpoint strictly: safetensors only, every tensor accounted for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from chronos.chronos2.config import Chronos2CoreConfig
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers.initialization import no_init_weights

from .errors import InputError
from .model import Chronos2VariantModel

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
ONLY_SAFETENSORS = "only safetensors are read; save the model with save_pretrained first"


def resolve(name_or_path: str | Path, **hub_arguments) -> Path:
    """Return the folder of a checkpoint, downloading it from the hub if it is not a folder.

    Parameters
    ----------
    name_or_path:
        A folder, or a hub repository such as ``"amazon/chronos-2"``.
    **hub_arguments:
        For `huggingface_hub.snapshot_download`: revision, cache_dir, token, local_files_only.

    Raises
    ------
    InputError
        If there is no such folder and the repository cannot be reached.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    try:
        files = ["config.json", "*.safetensors", WEIGHTS_INDEX]
        return Path(snapshot_download(str(name_or_path), allow_patterns=files, **hub_arguments))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"no checkpoint '{name_or_path}': {reason}",
            mend="give an existing folder, or a hub repository that can be reached",
        ) from error


def read_config(folder: Path) -> Chronos2CoreConfig:
    """Read ``config.json`` of a Chronos-2 checkpoint.

    Raises
    ------
    InputError
        If it is missing, unreadable, or not of a Chronos-2 model.
    """
    path = folder / "config.json"
    if not path.is_file():
        refuse_other_formats(folder)
        raise InputError("checkpoint without config.json", str(folder), "give a checkpoint folder")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"not a JSON file ({error})", str(path), "fetch it again") from error
    if not isinstance(content, dict) or "chronos_config" not in content:
        raise InputError("no chronos_config", str(path), "give a Chronos-2 checkpoint")
    return Chronos2CoreConfig.from_pretrained(folder)


def refuse_other_formats(folder: Path) -> None:
    """Raise `InputError` if the folder holds pickled weights or an adapter and no safetensors."""
    for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle"):
        for path in sorted(folder.glob(pattern)):
            raise InputError(f"pickled weights '{path.name}'", str(folder), ONLY_SAFETENSORS)
    if (folder / "adapter_config.json").is_file():
        raise InputError("an adapter, not a model", str(folder), "merge it into its model first")


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a checkpoint, sharded or not, in the dtype of the file.

    Raises
    ------
    InputError
        If there are no safetensors, a shard is missing or a file is damaged.
    """
    index = folder / WEIGHTS_INDEX
    if (folder / WEIGHTS).is_file():
        names = [WEIGHTS]
    elif index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        refuse_other_formats(folder)
        raise InputError(f"no {WEIGHTS}", str(folder), ONLY_SAFETENSORS)
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        path = folder / name
        try:
            with safe_open(path, framework="pt") as handle:
                tensors.update({key: handle.get_tensor(key) for key in handle.keys()})  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"unreadable weights ({error})", str(path), "fetch it again"
            ) from error
    return tensors


def fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    """Return 16 hexadecimal digits that identify weights: names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def check_names_and_shapes(
    model: torch.nn.Module, tensors: dict[str, torch.Tensor], folder: Path
) -> None:
    """Raise `InputError`, naming the tensors, unless the checkpoint fits the model exactly."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    faults = [f"missing '{name}'" for name in sorted(wanted.keys() - found.keys())]
    faults += [f"unexpected '{name}'" for name in sorted(found.keys() - wanted.keys())]
    faults += [
        f"'{name}' has shape {found[name]} instead of {wanted[name]}"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    if faults:
        shown = ", ".join(faults[:6]) + (f" and {len(faults) - 6} more" if len(faults) > 6 else "")
        raise InputError(
            f"checkpoint does not fit the model: {shown}",
            str(folder),
            "fetch the checkpoint again, or correct its config.json",
        )


def load_model(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[Chronos2VariantModel, str]:
    """Load a checkpoint strictly.

    Parameters
    ----------
    folder:
        Holds ``config.json`` and safetensors.
    dtype:
        Of the parameters in memory.

    Returns
    -------
    The model in evaluation mode, and the fingerprint of the weights as they are in the file.

    Raises
    ------
    InputError
        If one tensor is missing, unexpected, of another shape or not finite, or if the weights are
        not safetensors.
    """
    config = read_config(folder)
    tensors = read_tensors(folder)
    with no_init_weights():
        model = Chronos2VariantModel(config)
    check_names_and_shapes(model, tensors, folder)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"tensor '{name}' is not finite", str(folder), "fetch it again")
    model.load_state_dict(tensors, strict=True)
    return model.to(dtype).eval(), fingerprint(tensors)
