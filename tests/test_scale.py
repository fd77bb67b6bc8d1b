"""What the scale benchmark draws, writes and reports."""

import numpy as np
import pyarrow.parquet as pq

from chronos2_attention import Chronos2VariantPipeline
from study.speed import scale


def test_lengths_are_those_of_m4():
    lengths = scale.m4_lengths(20000, np.random.default_rng(0))
    low, high = (f([row[i] for row in scale.M4_LENGTHS]) for f, i in ((min, 1), (max, 3)))
    assert low <= lengths.min()
    assert lengths.max() <= high
    # Nearly half are monthly series, whose median is 202.
    assert 85 < np.median(lengths) < 202


def test_every_series_is_forecast_and_scored(checkpoint_dir, tmp_path):
    pipeline = Chronos2VariantPipeline.from_pretrained(checkpoint_dir)
    row = scale.measure_scale(pipeline, 20, tmp_path, batch_size=8, seed=1)
    assert row["series"] == 20
    scores = pq.read_table(tmp_path / "20_scores.parquet")
    assert scores.num_rows == 20
    assert np.isfinite(scores["abs_error"].combine_chunks().flatten()).all()
    lengths = pq.read_table(tmp_path / "20.parquet")["target"]
    limit = pipeline.model_context_length
    context = [min(len(one) - scale.HORIZON, limit) for one in lengths.to_pylist()]
    assert row["tokens"] == sum(-(-n // 16) + 2 for n in context)
    cpu = row["forecast_cpu_seconds"] + row["score_cpu_seconds"]
    assert row["cpu_seconds_per_1000_series"] == 1000 * cpu / 20
    assert row["forecast_seconds"] > 0
