"""Fine-tuning under a variant, with upstream's own code, and the adapters that come of it.

An adapter of `peft` wraps a model twice, ``PeftModel(LoraModel(model))``.
"""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from chronos.chronos2 import Chronos2Model, Chronos2Pipeline, pipeline

from .checkpoint import fingerprint
from .errors import InputError
from .model import Chronos2VariantModel, on_weights_of
from .variants import Cluster, Grouped


def innermost(model: torch.nn.Module) -> Chronos2Model:
    """Return the model within its adapters, if any."""
    return next(part for part in model.modules() if isinstance(part, Chronos2Model))


def around(model: torch.nn.Module, inner: Chronos2Model) -> torch.nn.Module:
    """Return the adapters of `model` around `inner`; the adapters' weights are shared."""
    if isinstance(model, Chronos2Model):
        return inner
    outer = copy.copy(model)
    held = "base_model" if "base_model" in model._modules else "model"
    outer._modules = model._modules | {held: around(model.get_submodule(held), inner)}
    return outer


def as_upstream(model: torch.nn.Module) -> Any:
    """Return `model` with upstream's class within its adapters, on the same weights."""
    return around(model, on_weights_of(innermost(model), Chronos2Model))


def fit(trained: Chronos2Pipeline, *args: Any, **kwargs: Any) -> Chronos2Pipeline:
    """Run upstream's `fit`, with names of its own for the classes that it names."""
    from transformers.trainer_callback import TrainerCallback

    variant = innermost(trained.model).variant
    if isinstance(variant, Cluster | Grouped):
        raise InputError(f"training batches have no groups of variant '{variant}'", mend="fit full")

    class SaveForUpstream(TrainerCallback):
        """Saves adapters again, which would name the class of the model that they were made on."""

        def on_save(self, args, state, control, model, **kwargs):
            if not isinstance(model, Chronos2Model):
                folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                as_upstream(model).save_pretrained(folder)

    def make_model(config):
        model, old = Chronos2VariantModel(config), innermost(trained.model)
        return model.with_variant(old.variant, old.settings)

    def make_pipeline(model):
        new = copy.copy(trained)
        new.model = new.inner_model = model
        if isinstance(model, Chronos2Model):
            new.weights_fingerprint = fingerprint(model.state_dict())
        else:
            from peft import get_peft_model_state_dict

            tensors = get_peft_model_state_dict(model)
            new.weights_fingerprint = fingerprint(tensors, trained.weights_fingerprint)
        return new

    upstream = Chronos2Pipeline.fit
    names = vars(pipeline) | {"Chronos2Model": make_model, "Chronos2Pipeline": make_pipeline}
    run = FunctionType(upstream.__code__, names, "fit", upstream.__defaults__, upstream.__closure__)
    asked = inspect.signature(upstream).bind(trained, *args, **kwargs)
    asked.arguments["callbacks"] = [*(asked.arguments.get("callbacks") or []), SaveForUpstream()]
    return run(*asked.args, **asked.kwargs)
