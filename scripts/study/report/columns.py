"""Columns of the report's tables: which are shown, under which heads, and what they mean."""

from __future__ import annotations

LABELS = {
    "task_name": "task",
    "radius": "r",
    "delta_metric": "delta MASE",
    "inference_time_s_median": "seconds",
    "inference_time_s_median_full": "seconds full",
    "inference_time_s_median_sparse": "seconds sparse",
    "peak_rss_mb": "peak RSS MiB",
    "peak_alloc_mb_median": "peak GPU MiB",
    "peak_alloc_mb_median_full": "GPU MiB full",
    "peak_alloc_mb_median_sparse": "GPU MiB sparse",
    "kept_mass_frac_ctxQ": "kept mass",
    "kept_edges_frac_ctxQ": "uniform",
    "S_tokens": "S",
    "window_index": "window",
    "verdict_holm": "verdict",
    "log_ratio_p_holm": "p (Holm)",
    "tost_p_holm": "TOST p (Holm)",
    "baseline_rel_mase": "baseline / naive",
    "change_percent": "MASE change %",
    "low_percent": "95 % from",
    "high_percent": "to",
    "weights_fingerprint": "weights",
    "cross_group_mass": "mass across groups",
    "more_than_random": "more than random",
    "vs_smoothed_log_ratio_mean": "log ratio to smoothed",
    "vs_smoothed_log_ratio_p": "p",
    "vs_smoothed_verdict": "against smoothed",
    "ci_low": "95 % from",
    "ci_high": "to",
    "num_series": "series",
    "num_forecasts": "forecasts",
    "ctx_used": "context",
    "lift_mean_all": "lift",
    "kept_mass_mean_ctxQ_all": "kept mass",
    "kept_edges_mean_ctxQ_all": "uniform",
    "lift_mean_S<128": "lift, S < 128",
    "lift_mean_S>=128": "lift, S ≥ 128",
    "n_all": "windows",
    "n_small": "windows, S < 128",
    "n_large": "windows, S ≥ 128",
}

MEANINGS = {
    "change_percent": "mean over tasks of MASE relative to full attention, on log ratios;"
    " below 0 the variant is better",
    "verdict_holm": "better or worse if the change is significant, equivalent if it lies within the"
    " margin (TOST), inconclusive else; with p corrected over the family by Holm's method",
    "verdict": "pass, fail, or a word on why nothing can be said; for a variant: better, worse,"
    " equivalent or inconclusive",
    "mean_speedup": "time of full over time of the variant, measured side by side: above 1 is"
    " faster",
    "speedup": "time of full over time of the variant: above 1 is faster",
    "delta_metric": "MASE of the variant minus MASE of full",
    "lift": "kept mass over its uniform reference: 1 is attention that looks nowhere in particular",
    "lift_mean_all": "kept mass over its uniform reference: 1 is attention that looks nowhere in"
    " particular",
    "kept_mass_frac_ctxQ": "share of a context query's attention within r tokens",
    "kept_edges_frac_ctxQ": "the same under uniform attention",
    "S_tokens": "tokens of the sequence, of 16 observations each",
    "baseline_rel_mase": "MASE of full over Seasonal Naive's, geometric mean over tasks: must be"
    " below 1",
    "ctx_used": "most observations of context",
    "gain": "share of MASE that is saved: above 0 the variant is better",
    "more_than_random": "whether a gain is larger than that of the same mask with its similarities"
    " shuffled among pairs, and made all equal",
    "more_than_smoothing": "whether a gain is larger than that of full attention's forecasts"
    " smoothed until they are as smooth as the variant's",
    "share_improved": "share of forecasts with a smaller MASE than under full attention",
    "roughness_ratio": "mean absolute second difference of the median, variant over full",
    "interval_width_ratio": "width of the interval from 0.1 to 0.9, variant over full",
    "cross_group_mass": "share of group attention that goes to series of other groups, measured",
    "temperature": "T multiplies a non-positive logarithm: a larger T is stricter",
    "control": "what a gain is held against: shuffled or uniform similarities",
}

RADIUS_COLUMNS = [
    *("radius", "verdict_holm", "change_percent", "low_percent", "high_percent", "n"),
    *("log_ratio_p_holm", "tost_p_holm", "median_speedup", "baseline_rel_mase"),
]

VERDICT_COLUMNS = [
    *("radius", "verdict_holm", "change_percent", "low_percent", "high_percent", "n"),
    *("log_ratio_p_holm", "tost_p_holm", "mean_speedup"),
]

COMPARE_COLUMNS = [
    *("task_name", "radius", "MASE_full", "MASE_sparse", "delta_metric", "speedup"),
    *("inference_time_s_median_full", "inference_time_s_median_sparse"),
    *("peak_alloc_mb_median_full", "peak_alloc_mb_median_sparse"),
]

PERF_COLUMNS = [
    *("task_name", "variant", "MASE", "WQL", "num_forecasts", "ctx_used"),
    *("inference_time_s_median", "peak_rss_mb", "peak_alloc_mb_median", "backend"),
]

MASS_SUMMARY_COLUMNS = [
    *("radius", "kept_mass_mean_ctxQ_all", "kept_edges_mean_ctxQ_all", "lift_mean_all", "n_all"),
    *("lift_mean_S<128", "n_small", "lift_mean_S>=128", "n_large"),
]

MASS_COLUMNS = [
    *("task_name", "window_index", "radius", "kept_mass_frac_ctxQ", "kept_edges_frac_ctxQ"),
    *("lift", "S_tokens", "ctx_used", "num_series"),
]

SOFT_VERDICT_COLUMNS = [
    *("subject", "variant", "verdict", "gain", "more_than_random", "more_than_smoothing"),
]

SOFT_SUMMARY_COLUMNS = [
    *("variant", "verdict_holm", "change_percent", "low_percent", "high_percent"),
    *("log_ratio_p_holm", "cross_group_mass", "more_than_random", "more_than_smoothing"),
]

SOFT_SMOOTHING_COLUMNS = [
    *("variant", "roughness_ratio", "interval_width_ratio", "smoothed_tasks"),
    *("vs_smoothed_log_ratio_mean", "vs_smoothed_log_ratio_p_holm", "vs_smoothed_verdict_holm"),
    *("more_than_smoothing",),
]

SOFT_GAIN_COLUMNS = [
    *("variant", "feature", "step", "n_series", "n_forecasts", "n", "gain", "ci_low", "ci_high"),
    *("share_improved", "resamples"),
]
