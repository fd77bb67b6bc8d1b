"""The benchmark of the engine: who runs in which round, ratios, intervals and tensor memory."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_model import build_upstream_model

from chronos2_attention import Chronos2VariantPipeline
from study.forecasts.chronos2 import load_pipeline
from study.speed import engine as benchmark
from study.speed.measuring import peak_tensor_mb, published_peak

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(checkpoint_dir_of_module):
    return Chronos2VariantPipeline.from_pretrained(checkpoint_dir_of_module)


@pytest.fixture(scope="module")
def checkpoint_dir_of_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    build_upstream_model().save_pretrained(folder)
    return folder


def test_peak_of_tensors_is_exact():
    def call():
        first = torch.empty(3 * 2**18)
        del first
        return torch.empty(2**18)

    result, peak = peak_tensor_mb(call, CPU)
    assert peak == pytest.approx(3, abs=1e-3)
    assert result.numel() == 2**18
    assert peak_tensor_mb(lambda: result.mul_(2), CPU)[1] < 1e-3


def test_a_dense_regime_is_named_by_its_shape():
    regime = benchmark.dense_regime("8x8192", seed=0)
    assert [len(one) for one in regime.series] == [8192] * 8
    assert set(regime.lengths) == {517}


def test_ragged_regimes_mix_few_long_series_among_short_ones(tmp_path):
    def write(name, lengths):
        columns = {
            "id": list(map(str, lengths)),
            "target": [list(map(float, range(n))) for n in lengths],
        }
        pq.write_table(pa.table(columns), tmp_path / name)
        return [tmp_path / name]

    short = write("short.parquet", [10, 20, 60, 130, 131])
    long = write("long.parquet", [499, 500, 9000])
    options = {"seed": 0, "num_short": 99, "num_long": 9}
    lengths = [
        sorted(len(one) for one in benchmark.ragged_regime(name, short, long, **options).series)
        for name in benchmark.RAGGED
    ]
    assert lengths == [[20, 60, 130], [20, 60, 130, 500, 8192]]


def test_every_method_is_measured_enough_and_full_beside_it(pipeline, monkeypatch):
    clock = itertools.count()
    slow = {"upstream": 5.0, "full": 2.0, "sparse": 1.0}
    ran = []

    def seconds(name, regime):
        ran.append((next(clock), name))
        return slow[name]

    monkeypatch.setattr(benchmark, "_seconds", seconds)
    banded = benchmark.Method("sparse", 8, "banded")
    auto = benchmark.Method("sparse", 8, "auto")
    methods = {
        benchmark.UPSTREAM: "upstream",
        benchmark.FULL: "full",
        auto: "sparse",
        banded: "sparse",
    }
    rounds = benchmark._timed_rounds(
        methods, benchmark.dense_regime("1x16", 0), repeats=2, seconds=7
    )
    assert {m: int(np.isfinite(taken).sum()) for m, taken in rounds.items()} == {
        benchmark.UPSTREAM: 2,
        benchmark.FULL: 7,
        auto: 7,
        banded: 2,
    }
    starts = [name for _, name in ran[:8]]
    assert starts[0] == "upstream"
    assert starts[4] == "full", "rounds begin with another method each"


def test_the_table_of_a_regime(pipeline):
    regime = benchmark.dense_regime("2x200", seed=1)
    table = benchmark.run_benchmark(
        pipeline,
        regime,
        radii=[1, 8],
        backends=["banded"],
        backend_radii=[1],
        repeats=2,
        dtypes=["float32", "bfloat16"],
        seconds=0,
        seed=0,
    )
    names = ["upstream", "full", "sparse", "sparse", "sparse", "full_bfloat16"]
    assert table["method"].tolist() == names
    assert table["backend"].tolist() == ["sdpa", "dense", "auto", "banded", "auto", "dense"]
    assert table["dtype"].tolist() == ["float32"] * 5 + ["bfloat16"]
    assert (table["repeats"] == 2).all()
    assert (table["tokens"] == 2 * (13 + 1 + 4)).all()
    assert (table["max_rel_difference"][:5] < 1e-5).all()
    assert 1e-4 < table["max_rel_difference"][5] < 0.1
    assert table["published_peak_share"].isna().all(), "of a CPU"
    assert (table["peak_tensor_mb"] > 0).all()
    full = table.set_index("method").loc["full"]
    assert full["paired_ratio_to_full"] == full["memory_ratio_to_full"] == 1
    between = table["paired_ratio_to_full"].between(
        table["paired_ratio_low"], table["paired_ratio_high"]
    )
    assert between.all()


def test_the_interval_of_a_median_narrows_with_repeats():
    rng = np.random.default_rng(0)
    values = rng.normal(1, 0.1, 400)
    widths = []
    for count in (20, 400):
        low, high = benchmark.median_interval(values[:count], rng)
        assert low <= np.median(values[:count]) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_card_is_held_against_its_own_published_peak():
    assert published_peak("NVIDIA H100 PCIe", "bfloat16") == 756e12
    assert published_peak("NVIDIA H100 80GB HBM3", "tf32") == 494e12
    assert np.isnan(published_peak("NVIDIA GeForce GTX 1080", "float32"))
    assert np.isnan(published_peak("NVIDIA A100-SXM4-80GB", "float64"))


def test_tf32_is_asked_for_and_stated(pipeline, checkpoint_dir_of_module):
    assert pipeline.describe()["dtype"] == "float32"
    asked = {"device": "cpu", "dtype": "tf32", "seed": 0}
    try:
        loaded = load_pipeline(checkpoint_dir_of_module / "model.safetensors", asked, threads=1)
        assert loaded.model.dtype == torch.float32
        assert loaded.describe()["dtype"] == benchmark.run_columns(torch.float32)["dtype"] == "tf32"
        assert benchmark.run_columns(torch.bfloat16)["dtype"] == "bfloat16"
    finally:
        torch.set_float32_matmul_precision("highest")
