"""Attention mass of a study's model: per head, per layer, per window, and over windows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from chronos2_attention import Chronos2VariantPipeline
from chronos2_attention.attention_mass import attention_mass
from study.config.study import Study
from study.forecasts.batches import ForecastSettings
from study.forecasts.slices import sample_windows
from study.jobs.progress import Work, progress

log = logging.getLogger("study.mass")

KEPT, DROPPED, EDGES = "kept_mass_frac_ctxQ", "dropped_mass_frac_ctxQ", "kept_edges_frac_ctxQ"
LONG = 128


def probe_suite(
    pipeline: Chronos2VariantPipeline,
    study: Study,
    data_paths: Mapping[str, Path],
    settings: ForecastSettings,
    *,
    radii: Sequence[int],
    max_windows_per_task: int,
    max_series_per_window: int,
    exclude_reg_query: bool,
) -> pd.DataFrame:
    """Measure the attention mass of every head under `full` on a sample of each task's windows.

    Returns a row a window, radius, layer and head, counted from 0: `ctx_used` in observations; of
    the mean context query `kept_mass_frac_ctxQ`, its weight within the radius,
    `dropped_mass_frac_ctxQ`, the rest, `kept_edges_frac_ctxQ`, the same under uniform attention,
    `lift`, mass over edges; of the longest sequence `S_tokens`, `ctx_tokens` (REG included),
    `future_tokens`, `q_sel_ctx_queries`; `exclude_reg_query`; `probe_weight_sum`, the weight of all
    queries, 1 each.
    """
    limit = settings.limit(pipeline)
    tables = []
    work = Work(pipeline.model_output_patch_size)
    for task in progress(study.suite.tasks, desc=f"{study.name} attention mass", unit="task"):
        for window in sample_windows(
            task,
            study.suite,
            data_paths[task.dataset],
            max_windows=max_windows_per_task,
            max_series=max_series_per_window,
            seed=settings.seed,
        ):
            mass = attention_mass(
                pipeline,
                window.series,
                window.horizon,
                batch_size=settings.batch_size,
                context_length=settings.context_length,
                exclude_reg_query=exclude_reg_query,
            )
            kept = mass.kept_mass(radii)
            radius, layer, head = np.indices(kept.shape).reshape(3, -1)
            kept, edges = kept.ravel(), mass.kept_edges(radii)[radius]
            columns = {
                "task_name": task.name,
                "window_index": window.index,
                "ctx_used": min(limit, max(map(len, window.series))),
                "horizon": window.horizon,
                "radius": np.asarray(radii)[radius],
                "layer": layer,
                "head": head,
                **{KEPT: kept, DROPPED: 1 - kept, EDGES: edges, "lift": kept / edges},
                "S_tokens": mass.num_context + mass.num_future,
                "ctx_tokens": mass.num_context,
                "future_tokens": mass.num_future,
                "q_sel_ctx_queries": mass.num_context - exclude_reg_query,
                "exclude_reg_query": exclude_reg_query,
                "probe_weight_sum": float(mass.num_queries),
                "num_series": len(window.series),
                "study": study.name,
                "model": study.model.name,
                "weights_fingerprint": pipeline.weights_fingerprint,
            }
            tables.append(pd.DataFrame(columns))
            work.add([len(series) for series in window.series], window.horizon, limit)
    log.info("probed %s: %s", {**pipeline.describe(), "backend": "dense"}, work)
    return pd.concat(tables, ignore_index=True)


def mean_over(heads: pd.DataFrame, *, keep: Sequence[str] = ()) -> pd.DataFrame:
    """Average `probe_suite` over heads, and over layers unless `keep` is ``["layer"]``."""
    keys = ["task_name", "window_index", "radius", *keep]
    dropped = [name for name in ("layer", "head") if name not in keep]
    means = heads.groupby(keys, sort=False)[[KEPT, DROPPED]].mean()
    table = heads.drop(columns=dropped).drop_duplicates(keys).set_index(keys)
    table[[KEPT, DROPPED]] = means
    table["lift"] = table[KEPT] / table[EDGES]
    return table.reset_index()[[name for name in heads.columns if name not in dropped]]


def summarise(per_window: pd.DataFrame) -> pd.DataFrame:
    """Average `probe_suite`'s mass over windows: a row a radius.

    For ``all`` windows, those of fewer than `LONG` tokens and the others: mean and standard
    deviation (n - 1) of the mass and their number, then the mean edges and the mean lift.
    """
    table = per_window.assign(lift=per_window[KEPT] / per_window[EDGES])
    parts = {
        ("all", "all"): table,
        (f"S<{LONG}", "small"): table[table["S_tokens"] < LONG],
        (f"S>={LONG}", "large"): table[table["S_tokens"] >= LONG],
    }
    radii = pd.Index(sorted(table["radius"].unique()), name="radius")
    mass, reference = {}, {}
    for (label, short), part in parts.items():
        by_radius = part.groupby("radius")
        mass[f"kept_mass_mean_ctxQ_{label}"] = by_radius[KEPT].mean()
        mass[f"kept_mass_std_ctxQ_{label}"] = by_radius[KEPT].std()
        mass[f"n_{short}"] = by_radius.size().reindex(radii, fill_value=0)
        reference[f"kept_edges_mean_ctxQ_{label}"] = by_radius[EDGES].mean()
        reference[f"lift_mean_{label}"] = by_radius["lift"].mean()
    return pd.DataFrame({**mass, **reference}, index=radii).reset_index()
