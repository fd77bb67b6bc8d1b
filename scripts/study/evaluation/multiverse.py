"""The same question asked in every defensible way: does the verdict hang on how it is asked?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd

from chronos2_attention import AttentionVariant
from study.evaluation.clusters import METRICS, PATCH, REG, TASK, Errors, cut_edges, pairs_of
from study.evaluation.statistics import Criteria
from study.forecasts.files import KEY_COLUMNS

# Tokens from which on a context is long, as in the tables of attention mass.
LONG = 128
UNITS = (TASK, "series")
# Of the columns, the fields of `PairedResult` that they are.
FIELDS = {
    **{"n": "n", "n_clusters": "n_clusters", "change": "log_ratio_mean"},
    **{"low": "log_ratio_ci_low", "high": "log_ratio_ci_high"},
    **{"p": "log_ratio_p", "tost_p": "tost_p", "verdict": "verdict"},
}


def multiverse(
    full: pd.DataFrame,
    sparse: pd.DataFrame,
    variant: AttentionVariant,
    clusters: Mapping[str, tuple[str, str | None]],
    margins: Sequence[float],
    alpha: float,
) -> pd.DataFrame:
    """Test sparse attention by every metric, unit, context and margin, from `forecast_errors`."""
    keys = list(KEY_COLUMNS)
    sparse = full[keys].merge(sparse, on=keys, how="left")
    length = full["context_length"].to_numpy()
    contexts = {
        "all": length > 0,
        "attention cut": cut_edges(length, variant) > 0,
        f"{LONG} tokens and more": -(-length // PATCH) + REG >= LONG,
    }
    rows = []
    for unit, (context, chosen) in product(UNITS, contexts.items()):
        pairs = pairs_of(full[keys], full["steps"], unit, clusters).where(chosen)
        both = {"full": full, "sparse": sparse}
        errors = Errors(pairs, {(m, k): t[m].to_numpy() for m in METRICS for k, t in both.items()})
        for metric, margin in product(METRICS, margins):
            methods = ((metric, name) for name in both)
            found = errors.test(*methods, Criteria(alpha, margin), among=pairs.counted)
            asked = {"metric": metric, "unit": unit, "context": context, "margin": margin}
            told = {column: getattr(found, field) for column, field in FIELDS.items()}
            rows.append({"radius": variant.radius, **asked, **told})
    return pd.DataFrame(rows)
