"""`full` and `joint` equal upstream's pipeline; upstream's methods hold on the subclass."""

import copy
import warnings

import fev
import numpy as np
import pandas as pd
import pytest
import torch
from chronos.chronos2 import Chronos2Pipeline
from chronos.utils import weighted_quantile
from small_model import build_upstream_model

from chronos2_attention import Chronos2VariantPipeline, InputError
from chronos2_attention.blockwise import weighted_quantiles

TOLERANCE = 1e-5
MODELS = [
    ({}, torch.float32),
    ({"num_layers": 2, "num_heads": 1, "d_kv": 16}, torch.float32),
    ({"d_model": 48, "num_heads": 3, "d_kv": 16, "d_ff": 96, "num_layers": 4}, torch.float32),
    # Large random weights magnify rounding; in double precision they leave only real differences.
    ({"initializer_factor": 0.3}, torch.float64),
]


@pytest.fixture(scope="module", params=range(len(MODELS)), ids=lambda i: f"model{i}")
def pipelines(request, tmp_path_factory):
    """Upstream's pipeline and ours on the same checkpoint, for several shapes and seeds."""
    folder = tmp_path_factory.mktemp("parity")
    shape, dtype = MODELS[request.param]
    build_upstream_model(seed=request.param, **shape).save_pretrained(folder)
    ours = Chronos2VariantPipeline.from_pretrained(folder, dtype=dtype)
    return Chronos2Pipeline.from_pretrained(folder, dtype=dtype), ours


def random_walk(rng, *shape):
    return (rng.normal(size=shape).cumsum(-1) + rng.normal(0, 50)).astype(np.float32)


def with_holes(rng, values, share=0.2):
    values = values.copy()
    values[rng.random(values.shape) < share] = np.nan
    return values


def make_inputs(kind, seed=0):
    """Inputs of `predict` that exercise one way of batching."""
    rng = np.random.default_rng(seed)
    lengths = [5, 16, 17, 30, 100, 511, 700, 77, 3, 40]
    if kind == "equal":
        return random_walk(rng, 6, 1, 96)
    if kind == "ragged":
        return [random_walk(rng, n) for n in lengths]
    if kind == "holes":
        series = [with_holes(rng, random_walk(rng, n)) for n in lengths]
        series[4][:64] = np.nan  # whole tokens missing inside and at the start
        series[5][200:260] = np.nan
        series[3][:] = np.nan
        series[2][:] = 7.0
        return series
    if kind == "multivariate":
        return [with_holes(rng, random_walk(rng, v, n), 0.05)
                for v, n in [(3, 60), (1, 200), (3, 18), (2, 60), (5, 130)]]  # fmt: skip
    if kind == "covariates":
        return [
            {
                "target": with_holes(rng, random_walk(rng, n), 0.1),
                "past_covariates": {
                    "known": random_walk(rng, n),
                    "past": random_walk(rng, n),
                    "kind": rng.choice(["a", "b", "c"], n),
                },
                "future_covariates": {
                    "known": random_walk(rng, HORIZON),
                    "kind": rng.choice(["a", "b", "c"], HORIZON),
                },
            }
            for n in (120, 35, 300, 20)
        ]
    raise ValueError(kind)


HORIZON = 40
KINDS = ["equal", "ragged", "holes", "multivariate", "covariates"]


def assert_forecasts_equal(found, wanted, tolerance=TOLERANCE):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert torch.isfinite(b).all()
        assert ((a - b).abs().max() / b.abs().max()).item() <= tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [4, 256])
def test_full_equals_upstream(pipelines, kind, batch_size):
    upstream, ours = pipelines
    options = {"prediction_length": HORIZON, "batch_size": batch_size}
    inputs = make_inputs(kind)
    assert_forecasts_equal(ours.predict(inputs, **options), upstream.predict(inputs, **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [4, 256])
def test_joint_equals_upstream_cross_learning(pipelines, kind, batch_size):
    upstream, ours = pipelines
    options = {"prediction_length": HORIZON, "batch_size": batch_size}
    inputs = make_inputs(kind)
    assert_forecasts_equal(
        ours.with_variant("joint").predict(inputs, **options),
        upstream.predict(inputs, cross_learning=True, **options),
    )


@pytest.mark.parametrize("variant", ["full", "joint"])
@pytest.mark.parametrize("kind", ["ragged", "multivariate", "covariates"])
def test_long_horizons_are_unrolled_as_upstream(pipelines, variant, kind):
    upstream, ours = pipelines
    horizon = 150  # the model forecasts 64 steps at a time
    inputs = make_inputs(kind)
    if kind == "covariates":
        rng = np.random.default_rng(1)
        for entry in inputs:
            entry["future_covariates"] = {
                "known": random_walk(rng, horizon),
                "kind": rng.choice(["a", "b"], horizon),
            }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = upstream.predict(
            inputs, prediction_length=horizon, cross_learning=variant == "joint"
        )
        found = ours.with_variant(variant).predict(inputs, prediction_length=horizon)
    # Unrolling picks weighted quantiles among samples; near ties of these random models, rounding
    # decides which, so only the model in double precision is held to the tolerance.
    is_double = ours.model.dtype == torch.float64
    assert_forecasts_equal(found, wanted, TOLERANCE if is_double else 1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_quantiles_of_weighted_samples_are_upstreams(seed):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(5, 7, 189, generator=generator)
    samples[:2] = samples[:2].round(decimals=1)  # ties
    samples[3] = torch.nan
    weights = torch.rand(189, generator=generator) + 1e-3
    levels = torch.rand(21, generator=generator).clamp(1e-4, 0.99999)
    found = weighted_quantiles(levels, weights, samples)
    wanted = weighted_quantile(levels, weights, samples)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def test_context_length_caps_the_context_as_upstream(pipelines):
    upstream, ours = pipelines
    inputs = make_inputs("ragged")
    options = {"prediction_length": 20, "context_length": 64}
    assert_forecasts_equal(ours.predict(inputs, **options), upstream.predict(inputs, **options))


def test_predict_quantiles(pipelines):
    upstream, ours = pipelines
    inputs = make_inputs("holes")
    for levels in ([0.1, 0.5, 0.9], [0.12, 0.5]):
        found, mean = ours.predict_quantiles(inputs, prediction_length=9, quantile_levels=levels)
        wanted, wanted_mean = upstream.predict_quantiles(
            inputs, prediction_length=9, quantile_levels=levels
        )
        assert_forecasts_equal(found, wanted)
        assert_forecasts_equal(mean, wanted_mean)


def frame_of(series, start="2020-01-01"):
    parts = [
        pd.DataFrame(
            {
                "item_id": f"item{index:02d}",
                "timestamp": pd.date_range(start, periods=len(values), freq="D"),
                "target": values,
            }
        )
        for index, values in enumerate(series)
    ]
    return pd.concat(parts, ignore_index=True)


def test_predict_df(pipelines):
    upstream, ours = pipelines
    frame = frame_of([values for values in make_inputs("ragged") if len(values) > 3])
    found = ours.predict_df(frame, prediction_length=12)
    wanted = upstream.predict_df(frame, prediction_length=12)
    assert list(found.columns) == list(wanted.columns)
    assert (found["item_id"] == wanted["item_id"]).all()
    for column in wanted.columns.drop(["item_id", "timestamp", "target_name"], errors="ignore"):
        a, b = found[column].to_numpy(), wanted[column].to_numpy()
        assert np.abs(a - b).max() <= TOLERANCE * np.abs(b).max()


def test_predict_fev(pipelines, tmp_path):
    upstream, ours = pipelines
    rng = np.random.default_rng(3)
    rows = [
        {
            "id": f"s{i}",
            "timestamp": pd.date_range("2020-01-01", periods=n, freq="D").to_list(),
            "target": random_walk(rng, n).tolist(),
        }
        for i, n in enumerate((60, 90, 45))
    ]
    path = tmp_path / "series.parquet"
    pd.DataFrame(rows).to_parquet(path)
    task = fev.Task(
        dataset_path=str(path), horizon=7, num_windows=2, seasonality=7,
        eval_metric="MASE", extra_metrics=["WQL"], quantile_levels=[0.1, 0.5, 0.9],
    )  # fmt: skip
    scores = []
    for pipeline in (upstream, ours):
        predictions, seconds = pipeline.predict_fev(task)
        assert seconds > 0
        scores.append(task.evaluation_summary(predictions, model_name="m"))
    for metric in ("MASE", "WQL"):
        assert scores[1][metric] == pytest.approx(scores[0][metric], rel=TOLERANCE)


def make_embedded(kind):
    inputs = make_inputs(kind)
    if kind == "covariates":  # upstream embeds what has no future
        return [{**entry, "future_covariates": {}} for entry in inputs]
    if kind == "multivariate":
        inputs[0][1, :40] = np.nan  # padded where the others of its input are not
    return inputs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [4, 256])
def test_embed(pipelines, kind, batch_size):
    upstream, ours = pipelines
    inputs = make_embedded(kind)
    found, wanted = (p.embed(inputs, batch_size=batch_size) for p in (ours, upstream))
    assert_forecasts_equal(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1], rtol=TOLERANCE, atol=0)


@pytest.mark.parametrize("kind", ["ragged", "multivariate"])
@pytest.mark.parametrize("name", ["sparse_r0", "sparse_r2_regglobal"])
def test_sparse_embeddings_are_those_of_upstreams_blocks_with_a_mask(pipelines, kind, name):
    ours = pipelines[1].with_variant(name, backend="banded")
    found, _ = ours.embed(make_embedded(kind))
    assert ours.model.backends_used == {"reference"}
    ours.model.is_hindered = True
    wanted, _ = ours.embed(make_embedded(kind))
    assert_forecasts_equal(found, wanted)


def test_padded_tokens_are_upstreams_in_float16():
    """Its lowest value does not drown large scores."""
    model = build_upstream_model(initializer_factor=0.3).half()
    upstream, ours = Chronos2Pipeline(model), Chronos2VariantPipeline(model)
    inputs = make_embedded("ragged")
    assert_forecasts_equal(ours.embed(inputs)[0], upstream.embed(inputs)[0], 2e-3)


def test_embed_refuses_variants_that_mix_series(pipelines):
    with pytest.raises(InputError, match="no embeddings"):
        pipelines[1].with_variant("joint").embed(make_inputs("equal"))


def test_attention_weights_and_loss_are_upstreams(pipelines):
    upstream, ours = pipelines
    context = torch.from_numpy(make_inputs("equal")[:, 0])
    target = torch.randn(6, 16)
    with torch.no_grad():
        found = ours.model(context, future_target=target, output_attentions=True)
        wanted = upstream.model(context, future_target=target, output_attentions=True)
    torch.testing.assert_close(found.loss, wanted.loss, rtol=TOLERANCE, atol=0)
    for kind in ("enc_time_self_attn_weights", "enc_group_self_attn_weights"):
        for a, b in zip(getattr(found, kind), getattr(wanted, kind), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["ragged", "holes", "multivariate", "covariates"])
@pytest.mark.parametrize("name", ["sparse_r0", "sparse_r2", "sparse_r9_regglobal", "sparse_r64"])
def test_sparse_engine_equals_upstreams_blocks_with_a_mask(pipelines, kind, name):
    """The fast path against `encode`, which runs upstream's blocks under the variant's mask."""
    ours = pipelines[1].with_variant(name)
    inputs = make_inputs(kind)
    reference = ours.with_variant(name)
    by_blocks = type(ours.model).__mro__[1].forward  # upstream's forward calls `encode`
    reference.model.forward = lambda **kwargs: by_blocks(reference.model, **kwargs)
    wanted = reference.predict(inputs, prediction_length=HORIZON)
    assert not reference.model.backends_used
    for backend in ("auto", "reference", "banded"):
        chosen = ours.with_variant(name, backend=backend, chunk_size=5)
        assert_forecasts_equal(chosen.predict(inputs, prediction_length=HORIZON), wanted)
        assert chosen.model.backends_used


def test_sparse_differs_from_full(pipelines):
    ours = pipelines[1]
    inputs = [values for values in make_inputs("ragged") if len(values) > 200]
    full = ours.predict(inputs, prediction_length=16)
    sparse = ours.with_variant("sparse_r1").predict(inputs, prediction_length=16)
    for a, b in zip(full, sparse, strict=True):
        assert (a - b).abs().max() > 10 * TOLERANCE * a.abs().max()


def test_sparse_attention_weights_are_zero_outside_the_window(pipelines):
    ours = pipelines[1].with_variant("sparse_r2")
    context = torch.from_numpy(make_inputs("equal")[:, 0])
    with torch.no_grad():
        weights = ours.model(context, output_attentions=True).enc_time_self_attn_weights
    num_context = weights[0].shape[-1] - 1
    for layer in weights:
        for i in range(num_context):
            outside = [j for j in range(num_context + 1) if abs(i - j) > 2 or j == num_context]
            assert (layer[:, :, i, outside] == 0).all()


def test_with_variant_shares_the_weights(pipelines):
    ours = pipelines[1]
    other = ours.with_variant("sparse_r8", backend="reference", chunk_size=3)
    assert ours.variant.name == "full"
    assert other.variant.name == "sparse_r8"
    for a, b in zip(ours.model.parameters(), other.model.parameters(), strict=True):
        assert a is b
    assert other.with_variant("full").model.settings == other.model.settings


def test_results_come_in_input_order(pipelines):
    ours = pipelines[1]
    inputs = make_inputs("ragged")
    together = ours.predict(inputs, prediction_length=8, batch_size=3)
    alone = [ours.predict([values], prediction_length=8)[0] for values in inputs]
    assert_forecasts_equal(together, alone)


CHANGES = {
    "in place": lambda weight: weight.mul_(-2),
    "data": lambda weight: weight.data.mul_(-2),
    "one element of data": lambda weight: weight.data[3, 5].add_(9),
    "data swapped": lambda weight: weight.data.copy_(weight.data.flip(0)),
    "array": lambda weight: weight.detach().numpy().__imul__(-2),
    "other storage": lambda weight: setattr(weight, "data", weight.data * -2),
    "other and back": lambda weight: weight.data.mul_(-2).mul_(-0.5),
    "not a number": lambda weight: weight.data.fill_(torch.nan),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("part", ["v", "o"])
def test_a_changed_weight_changes_what_singletons_get(pipelines, part, change):
    """The product of a layer's matrices is kept between calls, not beyond any change."""
    upstream, ours = (copy.deepcopy(pipeline) for pipeline in pipelines)
    inputs = make_inputs("ragged")[:4]
    options = {"prediction_length": 8}
    before = ours.predict(inputs, **options)
    for pipeline in (upstream, ours):
        attention = pipeline.model.encoder.block[0].layer[1].self_attention
        with torch.no_grad():
            CHANGES[change](getattr(attention, part).weight)
    found, wanted = (pipeline.predict(inputs, **options) for pipeline in (ours, upstream))
    if change == "not a number":
        assert all(forecast.isnan().all() for forecast in (*found, *wanted))
        return
    assert_forecasts_equal(found, wanted)
    has_changed = not all(torch.equal(*pair) for pair in zip(found, before, strict=True))
    assert has_changed == (change != "other and back")


def test_describe_says_what_ran(pipelines):
    ours = pipelines[1].with_variant("sparse_r1", backend="banded", chunk_size=4)
    assert ours.describe()["backend"] == ""
    ours.predict([random_walk(np.random.default_rng(0), 400)], prediction_length=4)
    report = ours.describe()
    assert report["variant"] == "sparse_r1"
    assert report["device"] == "cpu"
    assert report["dtype"] in ("float32", "float64")
    assert report["backend"] == "banded"
    assert len(report["weights_fingerprint"]) == 16
