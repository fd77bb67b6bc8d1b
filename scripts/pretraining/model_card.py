"""A trained checkpoint's files, and its card: workflow/report/model_card.md filled in."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from chronos.chronos2 import Chronos2Model

from study.report.pages import ENVIRONMENT
from study.speed.measuring import device_name

from .batches import LONG_WINDOW, DataConfig
from .evaluation import lead_lag_gain, score_families, score_time_attention
from .grouped_model import GroupedChronos2Model
from .training import History, TrainingConfig, decay_start, first_cycle

CURVE_ROWS = 16
BAR_WIDTH = 40
PACKAGES = ("torch", "chronos-forecasting", "transformers")
# No training chunk is drawn from a seed of this form.
HELD_OUT_SEED = 2_000_003


@dataclass(frozen=True)
class Scores:
    """Tables of `pretraining.evaluation` for a trained model, and the lift of an untrained one."""

    families: pd.DataFrame
    lead_lag: pd.DataFrame
    lift: pd.DataFrame
    untrained_lift: pd.DataFrame

    @classmethod
    def of(cls, model: GroupedChronos2Model, untrained: GroupedChronos2Model) -> Scores:
        """Score both on held-out series."""
        return cls(
            families=score_families(model, HELD_OUT_SEED),
            lead_lag=lead_lag_gain(model, HELD_OUT_SEED),
            lift=score_time_attention(model, HELD_OUT_SEED),
            untrained_lift=score_time_attention(untrained, HELD_OUT_SEED),
        )


def save_checkpoint(model: GroupedChronos2Model, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` (float32) for upstream's pipeline."""
    plain = Chronos2Model(type(model.config).from_dict(model.config.to_dict()))
    plain.load_state_dict(model.state_dict(), strict=True)
    plain.config.architectures = ["Chronos2Model"]
    plain.config.chronos_pipeline_class = "Chronos2Pipeline"
    plain.save_pretrained(folder)


def loss_curve(losses: list[tuple[int, float]]) -> str:
    """Draw (last step, mean loss) of equal runs of steps as at most `CURVE_ROWS` bars of text."""
    parts = np.array_split(np.array(losses, dtype=float), min(CURVE_ROWS, len(losses)))
    means = [part[:, 1].mean() for part in parts]
    return "\n".join(
        f"to step {int(part[-1, 0]):>7} {mean:8.3f}"
        f" {'#' * max(1, round(BAR_WIDTH * mean / max(means)))}"
        for part, mean in zip(parts, means, strict=True)
    )


def _percent(names: Collection, weights: Collection[float]) -> str:
    pairs = zip(names, weights, strict=True)
    return ", ".join(f"{name} {weight / sum(weights):.0%}" for name, weight in pairs)


def write_card(
    model: GroupedChronos2Model,
    data: DataConfig,
    training: TrainingConfig,
    history: History,
    scores: Scores,
    device: str,
    notes: str,
) -> str:
    """Return the model card as Markdown, with remarks on how the training came about (`notes`)."""
    table = scores.families.pivot(
        index="family", columns="context_length", values=["rel_mase", "rel_wql"]
    )
    kinds = {"rel_mase": "MASE", "rel_wql": "WQL"}
    table.columns = [f"{kinds[kind]}, context {length}" for kind, length in table.columns]
    table.loc["geometric mean"] = np.exp(np.log(table).mean())
    lift = scores.lift.pivot(index="layer", columns="tokens", values="lift")
    packages = [f"{name} {version(name)}" for name in PACKAGES]
    cores = "" if device.startswith("cuda") else f", {len(os.sched_getaffinity(0))} cores"
    card = ENVIRONMENT.get_template("model_card.md")
    text = card.render(
        vars(scores),
        model=model.config,
        chronos=model.config.chronos_config,
        parameters=sum(p.numel() for p in model.parameters()),
        data=data,
        training=training,
        history=history,
        decays_from=decay_start(training),
        decays_to=first_cycle(training),
        minutes=round(history.seconds / 60),
        machine=device_name(device) + cores,
        versions=", ".join([*packages, f"Python {platform.python_version()}"]),
        notes=fill(notes, 80),
        curve=loss_curve(history.losses),
        families=table.reset_index(),
        lift_by_tokens=lift.add_suffix(" tokens").reset_index(),
        long_window=LONG_WINDOW,
        percent=_percent,
    )
    return text + "\n"
