"""The model card that goes with a trained checkpoint, and the files of a checkpoint."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from chronos.chronos2 import Chronos2Model

from study.speed.measuring import device_name

from .batches import LONG_WINDOW, DataConfig
from .grouped_model import GroupedChronos2Model
from .training import History, TrainingConfig, decay_start, first_cycle

CURVE_ROWS = 16
BAR_WIDTH = 40


@dataclass(frozen=True)
class Scores:
    """Tables of `pretraining.evaluation` for a trained model, and the lift of an untrained one."""

    families: pd.DataFrame
    lead_lag: pd.DataFrame
    lift: pd.DataFrame
    untrained_lift: pd.DataFrame


def save_checkpoint(model: GroupedChronos2Model, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` (float32) for upstream's pipeline."""
    config = model.config.to_dict()
    plain = Chronos2Model(type(model.config).from_dict(config))
    plain.load_state_dict(model.state_dict(), strict=True)
    plain.config.architectures = ["Chronos2Model"]
    plain.config.chronos_pipeline_class = "Chronos2Pipeline"
    plain.save_pretrained(folder)


def describe_machine(device: str) -> str:
    """Return the name of the GPU, or the processor and its number of usable cores."""
    name = device_name(device)
    return name if device.startswith("cuda") else f"{name}, {len(os.sched_getaffinity(0))} cores"


def _markdown_table(table: pd.DataFrame, digits: int = 3) -> str:
    """Render a data frame (index left out) as a Markdown table."""
    header = "| " + " | ".join(str(column) for column in table.columns) + " |"
    rule = "|" + "---|" * table.shape[1]
    rows = [
        "| " + " | ".join(f"{v:.{digits}f}" if isinstance(v, float) else str(v) for v in row) + " |"
        for row in table.itertuples(index=False)
    ]
    return "\n".join([header, rule, *rows])


def loss_curve(losses: list[tuple[int, float]]) -> str:
    """Draw (last step, mean loss) of equal runs of steps as at most `CURVE_ROWS` bars of text."""
    parts = np.array_split(np.array(losses, dtype=float), min(CURVE_ROWS, len(losses)))
    ends = [int(part[-1, 0]) for part in parts]
    means = [part[:, 1].mean() for part in parts]
    top = max(means)
    return "\n".join(
        f"to step {end:>7} {mean:8.3f} {'#' * max(1, round(BAR_WIDTH * mean / top))}"
        for end, mean in zip(ends, means, strict=True)
    )


def _named(values: tuple[int, ...], weights: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(map(str, values), weights, strict=True))


def _percent(shares: dict[str, float]) -> str:
    total = sum(shares.values())
    return ", ".join(f"{name} {share / total:.0%}" for name, share in shares.items())


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
    config = model.config
    parameters = sum(p.numel() for p in model.parameters())
    families, lead_lag = scores.families, scores.lead_lag
    by_family = {"index": "family", "columns": "context_length"}
    mase = families.pivot_table(values="rel_mase", **by_family).add_prefix("MASE, context ")
    loss = families.pivot_table(values="rel_wql", **by_family).add_prefix("WQL, context ")
    table = mase.join(loss)
    table.loc["geometric mean"] = np.exp(np.log(table).mean())
    lift = scores.lift.pivot_table(index="layer", columns="tokens", values="lift")
    lift = lift.add_suffix(" tokens").reset_index()
    largest_lift = scores.lift.groupby("layer")["lift"].mean().max()
    untrained = scores.untrained_lift["lift"].mean()
    phases = "\n".join(
        f"""- From step {phase.from_chunk * data.steps_per_chunk:,} on:
  - context lengths {_percent(_named(data.context_lengths, phase.context_weights))};
  - families {_percent(phase.family_weights)};
  - families of windows longer than {LONG_WINDOW} points {_percent(phase.long_family_weights)};
  - group sizes {_percent(_named(data.group_sizes, phase.size_weights))};
  - couplings {_percent(phase.coupling_weights)}; noise of followers times {phase.noise_scale},
    {phase.inverted:.0%} of them upside down;
  - weight of a series (roughness + {phase.weight_floor}) ** -{phase.weight_exponent}."""
        for phase in data.phases
    )
    hours, minutes = divmod(round(history.seconds / 60), 60)
    chronos = config.chronos_config
    patch, quantiles = chronos["output_patch_size"], chronos["quantiles"]
    longest_horizon = chronos["max_output_patches"] * patch
    rates = f"{training.muon_learning_rate}, AdamW (rest) at {training.adamw_learning_rate}"
    cycle = first_cycle(training)
    decay = f"linear to zero from step {decay_start(training):,} to {cycle:,}"
    if cycle < training.steps:
        decay += f", again from {training.restart_rate:.0%} of the rate to the end"
    packages = {name: version(name) for name in ("torch", "chronos-forecasting", "transformers")}
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    gain = 1 - (lead_lag["joint"] / lead_lag["full"]).mean()
    shuffled = 1 - (lead_lag["shuffled"] / lead_lag["full"]).mean()
    return f"""---
license: apache-2.0
library_name: chronos-forecasting
pipeline_tag: time-series-forecasting
---

# nano: a small model with the architecture of Chronos-2

Trained from scratch on synthetic series only, by the rule `pretrain` of this
pipeline, to have a model at hand without a network. It is no replacement for
`amazon/chronos-2`, shares no weights with it, and has seen no real data.

## Model

| property | value |
|---|---|
| parameters | {parameters:,} |
| class | `chronos.chronos2.Chronos2Model` (chronos-forecasting), unchanged |
| layers, heads | {config.num_layers}, {config.num_heads} |
| d_model, d_kv, d_ff | {config.d_model}, {config.d_kv}, {config.d_ff} |
| patch | {chronos["input_patch_size"]} |
| longest context, horizon | {chronos["context_length"]}, {longest_horizon} |
| quantiles | {len(quantiles)}, from {min(quantiles)} to {max(quantiles)} |
| REG token, arcsinh scaling | {chronos["use_reg_token"]}, {chronos["use_arcsinh"]} |

## Data

Drawn on the fly by `scripts/pretraining` (sources are named there), seed {data.seed};
no series is seen twice.

- Contexts of {data.shortest_series} to {max(data.context_lengths)} points, horizons of
  {patch} to {len(data.horizon_weights) * patch}; missing points and blocks.
{phases}

## Training

| property | value |
|---|---|
| steps | {training.steps:,} |
| series seen | {history.series:,} |
| tokens seen | {history.tokens:,} |
| optimisers | Muon (blocks) at {rates} |
| schedule | {training.warmup_steps} steps warm-up, constant, {decay} |
| weights kept | running average, decay {training.ema_decay} |
| precision | {"bfloat16 autocast" if training.autocast else "float32"}, weights float32 |
| seed | {training.seed} |
| machine | {describe_machine(device)} |
| wall time | {hours} h {minutes:02d} min |
| versions | {versions}, Python {platform.python_version()} |

{fill(notes, 80)}

Loss (quantile loss in scaled space, smooth series weighted up, by phase):

```
{loss_curve(history.losses)}
```

## Scores on held-out synthetic series

Relative to the best of five seasonal naive forecasts (the lag, out of 1, 4, 7,
12 and 24, that fits each context best), horizon 16; below 1 is better.

{_markdown_table(table.reset_index())}

Lead and lag: groups of two, the second repeats the first some points later with
a little noise. MASE of the second, forecast alone (`full`), with its leader
(`joint`), and with another group's leader (`shuffled`). On average over lags,
`joint` is {gain:.1%} better than `full`, `shuffled` {shuffled:.1%}.

{_markdown_table(lead_lag)}

Time attention: mass within 4 tokens of the diagonal relative to uniform
attention, by layer (mean {scores.lift["lift"].mean():.2f}, largest \
{largest_lift:.2f} in one layer; before training {untrained:.2f}).

{_markdown_table(lift)}

## Licence

Apache-2.0.
"""
