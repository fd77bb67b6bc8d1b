"""Training: loss, optimisers, schedule, checkpoints and resumption."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from chronos.chronos2.config import Chronos2CoreConfig
from tqdm import tqdm

from chronos2_attention.checking import Flag, checked_dataclass, number, whole
from chronos2_attention.checkpoint import cast, check_names_and_shapes
from study.jobs.files import atomic_path

from .batches import Batch, DataConfig, batch_stream
from .grouped_model import GroupedChronos2Model

log = logging.getLogger("pretraining")

ROUGHNESS_LAGS = (1, 4, 7, 12, 24)


@checked_dataclass
class TrainingConfig:
    """How the model is trained; see config/pretrain.yaml for the meaning of each field."""

    seed: whole(0, 2**63 - 1)
    steps: whole(1)
    warmup_steps: whole(0)
    decay_share: number(0, most=1)
    restart_share: number(0, lt=1)
    restart_rate: number(0, most=1)
    muon_learning_rate: number(gt=0, most=10)
    adamw_learning_rate: number(gt=0, most=10)
    weight_decay: number(0, most=100)
    gradient_clip: number(gt=0)
    ema_decay: number(0, lt=1)
    checkpoints: whole(1)
    autocast: Flag
    shards: whole(1, 1024)


@dataclass
class History:
    """What a training run leaves behind besides the weights.

    `losses` are (last step, mean loss) of equal runs of steps; `series` and `tokens` what the model
    saw; `seconds` wall time, added up over interruptions.
    """

    losses: list[tuple[int, float]] = field(default_factory=list)
    series: int = 0
    tokens: int = 0
    seconds: float = 0.0


@torch.no_grad()
def build_model(architecture: dict, seed: int) -> GroupedChronos2Model:
    """Build a model with random weights, scaled by fan-in as upstream means to, and by depth."""
    torch.manual_seed(seed)
    # upstream writes into its argument
    model = GroupedChronos2Model(Chronos2CoreConfig(**deepcopy(architecture)))
    depth = model.config.num_layers
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        elif name == "shared.weight":
            parameter.normal_(std=0.5)
        else:
            std = parameter.shape[1] ** -0.5
            if name.endswith("self_attention.q.weight"):
                std *= model.config.d_kv**-0.5  # there is no 1/sqrt(d) in the attention
            elif name.endswith((".o.weight", ".wo.weight")):
                std *= (3 * depth) ** -0.5
            elif name.startswith("output_patch_embedding") and "hidden" not in name:
                std *= 0.1
            parameter.normal_(std=std)
    return model


def first_cycle(config: TrainingConfig) -> int:
    """Steps of the first cycle of the learning rate; the rest belong to its restart."""
    return config.steps - round(config.restart_share * config.steps)


def schedule(step: int, config: TrainingConfig) -> float:
    """Factor on the rates: warm-up, constant, linear decay, a restart (SGDR) that decays again."""
    cycle = first_cycle(config)
    if step >= cycle:
        return config.restart_rate * (config.steps - step) / (config.steps - cycle)
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    left = (cycle - step) / max(1.0, config.decay_share * cycle)
    return min(warm, max(0.0, left), 1.0)


def series_weights(context: torch.Tensor, exponent: float, floor: float) -> torch.Tensor:
    """Weight of each series in the loss, (series,), mean 1: smooth histories count more.

    ``(d + floor) ** -exponent``, d the least mean absolute difference at a lag of `ROUGHNESS_LAGS`:
    nearer to MASE than the context's standard deviation is. `context` is normalised, (series,
    length), NaN where missing. Of the context alone, so that the best quantiles stay the same.
    """
    roughness = torch.full((context.shape[0],), torch.inf, device=context.device)
    for lag in ROUGHNESS_LAGS:
        change = (context[:, lag:] - context[:, :-lag]).abs()
        enough = (~change.isnan()).sum(dim=1) >= max(3, lag)
        mean = torch.where(enough, change.nanmean(dim=1), torch.inf)
        roughness = torch.minimum(roughness, mean)
    weights = (torch.where(roughness.isinf(), 1.0, roughness) + floor) ** -exponent
    return weights / weights.mean()


def quantile_loss(
    model: GroupedChronos2Model,
    predicted: torch.Tensor,
    future: torch.Tensor,
    known: torch.Tensor,
    loc_scale: tuple[torch.Tensor, torch.Tensor],
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Upstream's quantile loss (Chronos2Model._compute_loss), with optional weights of mean 1.

    `predicted` is normalised, (series, quantiles, horizon), `future` raw, NaN where missing; series
    that are `known`, covariates, don't enter.
    """
    target, _ = model.instance_norm(future, loc_scale)
    counted = ~target.isnan() & ~known[:, None]
    target = torch.where(counted, target, 0.0)[:, None]
    levels = model.quantiles.to(predicted.device)[None, :, None]
    error = target - predicted
    loss = 2 * torch.abs(error * ((target <= predicted).float() - levels))
    per_series = (loss * counted[:, None]).mean(dim=-1).sum(dim=-1)
    if weights is not None:
        per_series = per_series * weights
    return per_series.mean()


def batch_loss(
    model: GroupedChronos2Model, batch: Batch, config: TrainingConfig, weighted: bool = True
) -> torch.Tensor:
    """Loss of one batch on the model's device; `weighted=False` gives upstream's loss."""
    device = model.quantiles.device
    context = torch.from_numpy(batch.context).to(device)
    future = torch.from_numpy(batch.future).to(device)
    known = torch.from_numpy(batch.known).to(device)
    covariates = torch.where(known[:, None], future, torch.nan) if batch.known.any() else None
    patches = future.shape[1] // model.chronos_config.output_patch_size
    with torch.autocast(device.type, torch.bfloat16, enabled=config.autocast):
        predicted, loc_scale = model.predict_grouped(context, batch.group_size, patches, covariates)
    weights = None
    if weighted:
        normalised, _ = model.instance_norm(context, loc_scale)
        weights = series_weights(normalised, batch.weight_exponent, batch.weight_floor)
    return quantile_loss(model, predicted.float(), future, known, loc_scale, weights)


def split_batch(batch: Batch, shards: int) -> list[Batch]:
    """Split a batch between groups into at most `shards` parts of nearly equal size."""
    groups = len(batch.context) // batch.group_size
    edges = np.linspace(0, groups, min(shards, groups) + 1).round().astype(int) * batch.group_size
    return [
        replace(batch, context=batch.context[a:b], future=batch.future[a:b], known=batch.known[a:b])
        for a, b in pairwise(edges)
    ]


class ShardedGradient:
    """A batch's loss and gradient, by threads of one core each that meet once a step."""

    def __init__(self, model: GroupedChronos2Model, config: TrainingConfig) -> None:
        self._model, self._config = model, config
        self._parameters = list(model.parameters())
        self._pool = ThreadPoolExecutor(
            config.shards, initializer=torch.set_num_threads, initargs=(1,)
        )

    def _part(self, batch: Batch) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        loss = batch_loss(self._model, batch, self._config)
        gradient = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        return loss.detach(), gradient

    def __call__(self, batch: Batch) -> float:
        """Set each parameter's `grad`; return the loss, averaged over series."""
        parts = split_batch(batch, self._config.shards)
        shares = [len(part.context) / len(batch.context) for part in parts]
        results = list(self._pool.map(self._part, parts))
        for i, parameter in enumerate(self._parameters):
            terms = [
                g[i] * w for (_, g), w in zip(results, shares, strict=True) if g[i] is not None
            ]
            parameter.grad = torch.stack(terms).sum(0) if terms else None
        return sum(float(loss) * w for (loss, _), w in zip(results, shares, strict=True))

    def close(self) -> None:
        self._pool.shutdown()


def build_optimizers(
    model: GroupedChronos2Model, config: TrainingConfig
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024; rates as in Moonlight) for the encoder's matrices, else AdamW."""
    named = list(model.named_parameters())
    vectors = [parameter for _, parameter in named if parameter.ndim != 2]
    hidden, matrices = (
        [p for name, p in named if p.ndim == 2 and name.startswith("encoder.block") == inside]
        for inside in (True, False)
    )
    decay, rate = config.weight_decay, config.adamw_learning_rate
    muon = {"lr": config.muon_learning_rate, "adjust_lr_fn": "match_rms_adamw"}
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizers = [
        torch.optim.Muon(hidden, weight_decay=decay, **muon),
        torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98)),
    ]
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["base_lr"] = group["lr"]
    return optimizers


def config_digest(architecture: dict, data: DataConfig, config: TrainingConfig) -> str:
    """Hash of everything that decides the weights, except the number of steps."""
    training = asdict(config)
    del training["steps"], training["checkpoints"]
    text = json.dumps([architecture, asdict(data), training], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def decay_start(config: TrainingConfig) -> int:
    """First step whose learning rate depends on the number of steps."""
    return int(first_cycle(config) * (1 - config.decay_share))


def _resume(
    path: Path,
    digest: str,
    config: TrainingConfig,
    model: GroupedChronos2Model,
    ema: dict[str, torch.Tensor],
    optimizers: list[torch.optim.Optimizer],
    history: History,
) -> int:
    """Load a checkpoint into the arguments if it fits; return the step to go on from."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location=model.quantiles.device, weights_only=True)
    if state["digest"] != digest:
        log.warning("%s belongs to another configuration: starting anew", path)
        return 0
    other = state["steps"]
    # As long as both runs' rates are constant, the number of steps has not mattered yet.
    free = min(decay_start(replace(config, steps=other)), decay_start(config))
    if other != config.steps and state["step"] > free:
        log.warning("%s was made for %d steps: starting anew", path, other)
        return 0
    for weights, wanted in ((state["model"], model.state_dict()), (state["ema"], ema)):
        check_names_and_shapes(wanted, weights, path)
        cast(weights, torch.float32, path, may_be_zero=True)
    model.load_state_dict(state["model"])
    for name, value in state["ema"].items():
        ema[name].copy_(value)
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    for name in asdict(history):
        setattr(history, name, state[name])
    log.info("resuming from %s at step %d of %d", path, state["step"], config.steps)
    return state["step"]


def train(
    architecture: dict,
    data: DataConfig,
    config: TrainingConfig,
    checkpoint: Path | None = None,
    device: str = "cpu",
    watch: Callable[[int, float], None] | None = None,
) -> tuple[GroupedChronos2Model, History]:
    """Train a model by the three parts of config/pretrain.yaml, and average its weights.

    `checkpoint` is where to resume from, if that fits, and where the state is written
    `config.checkpoints` times. `watch` is called with (steps done, loss) after every step.
    """
    model = build_model(architecture, config.seed).to(device).train()
    optimizers = build_optimizers(model, config)
    ema = {name: value.detach().clone() for name, value in model.named_parameters()}
    history = History()
    digest = config_digest(architecture, data, config)
    first = 0
    if checkpoint is not None:
        first = _resume(checkpoint, digest, config, model, ema, optimizers, history)
    parameters, averages = list(model.parameters()), list(ema.values())
    every = max(1, config.steps // max(1, config.checkpoints))
    report_every = max(1, config.steps // 200)
    window: list[float] = []
    earlier, started = history.seconds, time.perf_counter()
    patch = model.chronos_config.input_patch_size
    steps = {"total": config.steps, "initial": first, "unit": "step"}
    progress = tqdm(desc="pretrain", mininterval=5.0, **steps)
    gradient = ShardedGradient(model, config)
    if device == "cpu":
        torch.set_num_threads(1)  # the shards' threads share the cores among them
    with progress, closing(gradient), batch_stream(data, first, config.steps) as stream:
        for step, batch in enumerate(stream, start=first):
            loss = gradient(batch)
            torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["base_lr"] * schedule(step, config)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                # a short memory at first, so that the initial weights are soon forgotten
                decay = min(config.ema_decay, (1 + step) / (10 + step))
                torch._foreach_lerp_(averages, parameters, 1 - decay)
            done = step + 1
            history.series += len(batch.context)
            length = batch.context.shape[1] + batch.future.shape[1]
            history.tokens += len(batch.context) * (length // patch + 1)
            history.seconds = earlier + time.perf_counter() - started
            window.append(loss)
            if done % report_every == 0 or done == config.steps:
                history.losses.append((done, sum(window) / len(window)))
                window.clear()
                progress.set_postfix(loss=f"{history.losses[-1][1]:.4f}", refresh=False)
            progress.update()
            if checkpoint is not None and (done % every == 0 or done == config.steps):
                state = {
                    "digest": digest,
                    "steps": config.steps,
                    "step": done,
                    "model": model.state_dict(),
                    "ema": ema,
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    **asdict(history),
                }
                with atomic_path(checkpoint) as temporary:
                    torch.save(state, temporary)
            if watch is not None:
                watch(done, loss)
    with torch.no_grad():
        for parameter, average in zip(parameters, averages, strict=True):
            parameter.copy_(average)
    return model.eval(), history
