"""Training of the embedded checkpoint: model, loss, schedule, resumption, evaluation, card."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from chronos.chronos2 import Chronos2Model, Chronos2Pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos2_attention.errors import InputError
from pretraining import evaluation
from pretraining.batches import Batch, make_chunk
from pretraining.model_card import Scores, loss_curve, save_checkpoint, write_card
from pretraining.settings import load_settings
from pretraining.training import (
    ShardedGradient,
    batch_loss,
    build_model,
    decay_start,
    schedule,
    series_weights,
    split_batch,
    train,
)

PATCH = 16


@pytest.fixture(scope="module")
def recipe(repo_root):
    """The committed settings, with a tiny model and tiny steps in float32."""
    architecture, data, training, _ = load_settings(
        repo_root / "config" / "pretrain.yaml", steps=24
    )
    architecture = architecture | {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_heads": 2}
    architecture["num_layers"] = 2
    data = replace(
        data,
        tokens_per_step=256,
        context_lengths=(16, 64),
        phases=(replace(data.phases[-1], from_chunk=0, context_weights=(1, 1)),),
        settings_per_chunk=4,
        steps_per_setting=2,
    )
    training = replace(training, warmup_steps=2, autocast=False, ema_decay=0.9, checkpoints=12)
    return architecture, data, training


@pytest.fixture(scope="module")
def model(recipe):
    return build_model(recipe[0], seed=3).eval()


def random_context(seed: int, series: int, length: int) -> torch.Tensor:
    """Series of different lengths, padded on the left, with holes."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=(series, length)), axis=1).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    for row, start in enumerate(rng.integers(0, length - 8, size=series)):
        x[row, :start] = np.nan
    return torch.from_numpy(x)


def normalise(model, forecast: torch.Tensor, loc_scale) -> torch.Tensor:
    loc, scale = loc_scale
    return torch.arcsinh((forecast - loc[:, None]) / scale[:, None])


@pytest.mark.parametrize("group_size", [1, 2, 4])
@pytest.mark.parametrize("length", [16, 80])
@pytest.mark.parametrize("covariates", [False, True])
def test_grouped_forward_equals_upstream(recipe, group_size, length, covariates):
    model = build_model(recipe[0], seed=group_size).eval()
    context = random_context(length, 8, length)
    future = None
    if covariates:
        future = torch.randn(8, 2 * PATCH, generator=torch.manual_seed(1))
        future[::2] = torch.nan
    with torch.no_grad():
        mine, loc_scale = model.predict_grouped(context, group_size, 2, future)
        theirs = Chronos2Model.forward(
            model,
            context=context,
            group_ids=torch.arange(8) // group_size,
            future_covariates=future,
            num_output_patches=2,
        ).quantile_preds
    torch.testing.assert_close(mine, normalise(model, theirs, loc_scale), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("group_size", [1, 4])
def test_unweighted_loss_equals_upstream(recipe, model, group_size):
    rng = np.random.default_rng(4)
    context = random_context(4, 8, 48).numpy()
    future = rng.normal(size=(8, 2 * PATCH)).astype(np.float32)
    future[rng.random(future.shape) < 0.2] = np.nan
    known = np.zeros(8, dtype=bool)
    if group_size > 1:
        known[1::4] = True
        future[known] = np.nan_to_num(future[known])
    batch = Batch(context, future, known, group_size)
    shown = torch.from_numpy(np.where(known[:, None], future, np.nan).astype(np.float32))
    with torch.no_grad():
        mine = batch_loss(model, batch, recipe[2], weighted=False)
        theirs = Chronos2Model.forward(
            model,
            context=torch.from_numpy(context),
            group_ids=torch.arange(8) // group_size,
            future_covariates=shown,
            future_target=torch.from_numpy(future),
            num_output_patches=2,
        ).loss
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), exponent=st.floats(0, 1))
def test_series_weights_average_to_one_and_favour_smooth_series(seed, exponent):
    rng = np.random.default_rng(seed)
    smooth, rough = np.linspace(-1.5, 1.5, 60), rng.normal(size=60)
    context = torch.tensor(np.stack([smooth, rough]), dtype=torch.float32)
    weights = series_weights(context, exponent, 0.05)
    assert float(weights.mean()) == pytest.approx(1.0, abs=1e-5)
    assert weights[0] >= weights[1]
    assert torch.isfinite(series_weights(torch.full((2, 6), torch.nan), exponent, 0.05)).all()


def test_schedule_warms_up_holds_decays_and_restarts(recipe):
    config = replace(
        recipe[2],
        steps=1250,
        warmup_steps=100,
        decay_share=0.4,
        restart_share=0.2,
        restart_rate=0.3,
    )
    factors = [schedule(step, config) for step in range(1250)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[99:601] == [1.0] * 502
    assert all(a > b for a, b in pairwise(factors[600:1000]))
    assert 0 < factors[999] < 0.01
    assert factors[1000] == pytest.approx(0.3)
    assert all(a > b for a, b in pairwise(factors[1000:]))
    assert 0 < factors[-1] < 0.01
    longer = replace(config, steps=2500)
    assert decay_start(config) == 600
    assert factors[:600] == [schedule(step, longer) for step in range(600)]
    single = replace(config, steps=1000, restart_share=0.0)
    assert factors[:1000] == [schedule(step, single) for step in range(1000)]


def test_shards_give_the_gradient_of_the_whole_batch(recipe, model):
    """Unweighted by roughness, the mean over series does not depend on the split."""
    architecture, data, training = recipe
    batch = replace(max(make_chunk(data, 0), key=lambda b: b.group_size), weight_exponent=0.0)
    parts = split_batch(batch, 3)
    assert sum(len(part.context) for part in parts) == len(batch.context)
    assert all(len(part.context) % batch.group_size == 0 for part in parts)
    results = []
    for shards in (1, 2):
        copy = build_model(architecture, seed=3)
        gradient = ShardedGradient(copy, replace(training, shards=shards))
        loss = gradient(batch)
        gradient.close()
        results.append((loss, [p.grad for p in copy.parameters() if p.grad is not None]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-3, atol=1e-5)


def test_training_lowers_the_loss(recipe):
    architecture, data, training = recipe
    model, history = train(architecture, data, replace(training, steps=64))
    held_out = make_chunk(replace(data, seed=99), 0)
    untrained = build_model(architecture, training.seed)
    with torch.no_grad():
        before = np.mean([float(batch_loss(untrained, b, training)) for b in held_out])
        after = np.mean([float(batch_loss(model, b, training)) for b in held_out])
    assert after < 0.8 * before
    assert history.losses[-1][0] == 64
    assert history.series > 64


class KilledError(Exception):
    """Stands for a kill in the middle of a training."""


def test_a_killed_training_goes_on_as_if_nothing_had_happened(recipe, tmp_path):
    checkpoint = tmp_path / "state.pt"
    whole, history = train(*recipe)

    def kill(done: int, _loss: float) -> None:
        if done == 13:
            raise KilledError

    with pytest.raises(KilledError):
        train(*recipe, checkpoint=checkpoint, watch=kill)
    steps: list[int] = []
    resumed, resumed_history = train(
        *recipe, checkpoint=checkpoint, watch=lambda done, _loss: steps.append(done)
    )
    assert steps == list(range(13, 25))  # the last checkpoint was after step 12
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)
    assert resumed_history.series == history.series
    np.testing.assert_allclose(resumed_history.losses, history.losses, rtol=1e-4)


def first_step(recipe, training, checkpoint) -> int:
    """First step that a training goes on with from a checkpoint."""
    seen: list[int] = []

    def stop(done: int, _loss: float) -> None:
        seen.append(done - 1)
        raise KilledError

    with pytest.raises(KilledError):
        train(recipe[0], recipe[1], training, checkpoint=checkpoint, watch=stop)
    return seen[0]


def test_checkpoints_of_other_settings_are_left_alone(recipe, tmp_path, caplog):
    checkpoint = tmp_path / "state.pt"
    training = replace(recipe[2], decay_share=0.5)

    def kill(done: int, _loss: float) -> None:
        if done == 8:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe[0], recipe[1], training, checkpoint=checkpoint, watch=kill)
    assert first_step(recipe, training, checkpoint) == 8
    # still at a constant rate after 8 of 24 steps, and so it would be with 40, but not with 12
    assert decay_start(replace(training, steps=12)) < 8 <= decay_start(training)
    assert first_step(recipe, replace(training, steps=40), checkpoint) == 8
    assert first_step(recipe, replace(training, steps=12), checkpoint) == 0
    assert first_step(recipe, replace(training, weight_decay=0.1), checkpoint) == 0
    assert "another configuration" in caplog.text


def test_saved_checkpoint_is_upstreams(recipe, model, tmp_path):
    save_checkpoint(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["Chronos2Model"]
    assert config["chronos_pipeline_class"] == "Chronos2Pipeline"
    pipeline = Chronos2Pipeline.from_pretrained(tmp_path)
    loaded = pipeline.model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value), name
        assert loaded[name].dtype == torch.float32
    x = random_context(9, 3, 64)
    theirs = pipeline.predict([row.numpy() for row in x], prediction_length=PATCH)
    mine = evaluation.forecast(model, x.numpy(), 1, PATCH)
    for a, b in zip(theirs, mine, strict=True):
        np.testing.assert_allclose(a[0].numpy(), b, rtol=1e-3, atol=1e-3)


@given(period=st.sampled_from(evaluation.NAIVE_LAGS), horizon=st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_seasonal_naive_repeats_the_best_lag(period, horizon):
    rng = np.random.default_rng(period)
    pattern = np.arange(period) + rng.normal(size=period) * 5
    x = np.tile(pattern, 8)[None, -72:] if period > 1 else np.full((1, 72), 3.0)
    forecast, error = evaluation.seasonal_naive(x, horizon)
    assert error[0] == pytest.approx(0.0, abs=1e-12)
    expected = np.resize(x[0, -period:], horizon)
    np.testing.assert_allclose(forecast[0], expected)


def test_quantile_loss_of_a_point_forecast_is_its_absolute_error():
    rng = np.random.default_rng(5)
    target, point = rng.normal(size=(4, 9)), rng.normal(size=(4, 9))
    levels = np.array([0.1, 0.5, 0.9])
    quantiles = np.repeat(point[:, None], 3, axis=1)
    loss = evaluation.weighted_quantile_loss(quantiles, levels, target)
    np.testing.assert_allclose(loss, np.abs(target - point).mean(axis=1))


def test_lift_is_one_for_uniform_attention_and_larger_near_the_diagonal(recipe):
    model = build_model(recipe[0], seed=6).eval()
    context = random_context(6, 4, 40 * PATCH).nan_to_num().numpy()
    with torch.no_grad():
        for block in model.encoder.block:
            block.layer[0].self_attention.q.weight.zero_()
    np.testing.assert_allclose(evaluation.time_attention_lift(model, context), 1.0, rtol=1e-5)

    class Local:
        """A model that attends to the nearest tokens only."""

        quantiles = model.quantiles

        def __call__(self, context, num_output_patches, output_attentions):
            tokens = context.shape[1] // PATCH + 1 + num_output_patches
            weights = torch.eye(tokens).expand(1, 1, tokens, tokens)
            return type("Output", (), {"enc_time_self_attn_weights": (weights,)})

    queries, tokens, radius = 41, 42, 4
    edges = queries * (2 * radius + 1) - radius * (radius + 1)
    lift = evaluation.time_attention_lift(Local(), context, radius)
    assert lift == pytest.approx([queries * tokens / edges])


def test_card_states_what_was_done(recipe):
    architecture, data, training = recipe
    model, history = train(architecture, data, replace(training, steps=3))
    scores = Scores(
        families=evaluation.score_families(model, 1, series=4, context_lengths=(48,)),
        lead_lag=evaluation.lead_lag_gain(model, 1, lags=(4,), groups=2, context_length=64),
        lift=evaluation.score_time_attention(model, 1, series=1),
        untrained_lift=evaluation.score_time_attention(build_model(architecture, 1), 1, series=1),
    )
    card = write_card(model, data, training, history, scores, "cpu", "Stopped twice.")
    parameters = sum(math.prod(p.shape) for p in model.parameters())
    assert f"| {parameters:,} |" in card
    assert f"| {history.series:,} |" in card
    assert f"{scores.lead_lag['joint'].iloc[0]:.3f}" in card
    assert "license: apache-2.0" in card
    assert "Stopped twice." in card
    assert card.count("\nto step") == len(history.losses)
    assert loss_curve([(1, 4.0), (2, 2.0)]).splitlines()[1].count("#") == 20


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("data", "context_lengths", [16, 32]), "context_weights"),
        (("data", "group_sizes", [1, 2]), "size_weights"),
        (("data", "context_lengths", list(range(224, 0, -16))), "not sorted"),
        (("data", "phases", []), "phases"),
        (("data", "shortest_series", 0), "shortest_series"),
        (("training", "speed", 3), "speed"),
        (("architecture", "d_kv", 7), "d_kv"),
    ],
)
def test_settings_that_cannot_be_used_are_named(repo_root, tmp_path, change, word):
    document = yaml.safe_load((repo_root / "config" / "pretrain.yaml").read_text())
    part, key, value = change
    document[part][key] = value
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=word):
        load_settings(path)


@pytest.mark.parametrize("steps", [0, -3, "many", True])
def test_steps_must_be_a_positive_number(repo_root, steps):
    with pytest.raises(InputError, match="pretrain_steps"):
        load_settings(repo_root / "config" / "pretrain.yaml", steps)


def test_committed_weights_belong_to_the_committed_settings(repo_root):
    folder = repo_root / "resources" / "models" / "nano"
    architecture, _, training, _ = load_settings(repo_root / "config" / "pretrain.yaml")
    pipeline = Chronos2Pipeline.from_pretrained(folder)
    for key, value in architecture.items():
        if key != "chronos_config":
            assert getattr(pipeline.model.config, key) == value
    chronos = asdict(pipeline.model.chronos_config)
    assert chronos == architecture["chronos_config"]
    assert (folder / "model.safetensors").stat().st_size <= 8_000_000
    assert sum(p.numel() for p in pipeline.model.parameters()) <= 3_000_000
    assert f"| steps | {training.steps:,} |" in (folder / "README.md").read_text()
