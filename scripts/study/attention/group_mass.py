"""How much group attention goes to series of other groups, per task, window and layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline
from chronos2_attention.group_mass import cross_group_mass
from study.config.study import Study
from study.forecasts.batches import ForecastSettings, WindowBatches
from study.forecasts.files import SimilarityFile
from study.forecasts.slices import task_slices
from study.jobs.progress import Work, progress

log = logging.getLogger("study.group_mass")


def to_leaders(items: Sequence[str]) -> np.ndarray:
    """Pairs (n, n) of a follower and a leader of its group, by the names of `factor_series`."""
    group, role = np.array([item.partition("_")[::2] for item in items]).T
    follows, leads = (np.char.startswith(role, name) for name in ("follower", "leader"))
    return (group[:, None] == group) & follows[:, None] & leads


def measure_group_mass(
    pipeline: Chronos2VariantPipeline,
    variants: Sequence[AttentionVariant],
    study: Study,
    data_paths: Mapping[str, Path],
    settings: ForecastSettings,
    *,
    windows_per_task: int,
    similarities: SimilarityFile | None = None,
) -> pd.DataFrame:
    """Measure the cross-group attention mass of variants whose series mix, in a forecast's batches.

    Returns a row per variant, task, window and layer: `cross_group_mass` (mean share of weight over
    heads, observed tokens and the series that share a batch; NaN where there is none),
    `num_series`, `num_mixed_series`, and `leader_lift`: where items are leaders and followers,
    weight from followers to the leaders of their group over that of uniform attention.
    """
    tables = []
    work = Work(pipeline.model_output_patch_size)
    limit = settings.limit(pipeline)
    batch_size = study.suite.batch_size or settings.batch_size
    for task in progress(study.suite.tasks, desc=f"group mass of {study.name}", unit="task"):
        evaluation = next(task_slices(task, study.suite, data_paths[task.dataset]))
        for window in WindowBatches.of(evaluation, batch_size, windows_per_task):
            work.add(np.repeat(window.lengths, window.sizes), window.horizon, limit)
            for variant in variants:
                masses, mixed, lift = [], 0, []
                for batch, block in window.blocks(variant, similarities, settings.seed):
                    if len(batch) < 2:
                        continue
                    measure = partial(
                        cross_group_mass,
                        pipeline.with_variant(variant),
                        window.rows(batch),
                        window.horizon,
                        context_length=settings.context_length,
                        similarity=block.similarity,
                        seed=block.seed[:2],
                        items=np.repeat(batch, window.sizes[batch]),
                    )
                    masses.append(measure() * len(batch))
                    ids = [window.item_ids[index] for index in batch]
                    led = to_leaders(np.repeat(ids, window.sizes[batch]).tolist())
                    if led.any():
                        lift.append(measure(counted=led) / led.mean())
                    mixed += len(batch)
                layers = pipeline.model.config.num_layers
                mass = sum(masses) / mixed if mixed else np.full(layers, np.nan)
                columns = {
                    "variant": variant.name,
                    "task_name": task.name,
                    "window_index": window.window_index,
                    "layer": range(layers),
                    "cross_group_mass": mass,
                    "num_series": len(window.items),
                    "num_mixed_series": mixed,
                    "leader_lift": np.mean(lift, axis=0) if lift else np.nan,
                }
                tables.append(pd.DataFrame(columns))
    log.info("probed groups of %s: %s", {**pipeline.describe(), "backend": "dense"}, work)
    return pd.concat(tables, ignore_index=True)
