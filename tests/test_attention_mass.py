"""Attention mass: against whole attention tensors, against uniform attention, and its files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from chronos.chronos2 import Chronos2Model
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import build_upstream_model
from small_study import small_study
from torch.utils._python_dispatch import TorchDispatchMode

from chronos2_attention import Chronos2VariantPipeline, InputError
from chronos2_attention.attention_mass import attention_mass, diagonal_sums, probe_batch
from chronos2_attention.model import Chronos2VariantModel
from study.attention.time_mass import mean_over, probe_suite, summarise
from study.evaluation.gates import GateRow, attention_gate, summary
from study.forecasts import slices as samples
from study.forecasts.batches import ForecastSettings
from study.forecasts.slices import sample_windows

PATCH = 16


@pytest.fixture(scope="module")
def upstream():
    """Upstream's model, with attention far from uniform."""
    return build_upstream_model(initializer_factor=0.4)


@pytest.fixture(scope="module")
def model(upstream):
    return variant_of(upstream)


def variant_of(upstream: Chronos2Model) -> Chronos2VariantModel:
    model = Chronos2VariantModel(upstream.config)
    model.load_state_dict(upstream.state_dict())
    return model.eval()


def ragged(lengths, seed, missing=0.0):
    """Left-padded random walks, shape (B, longest); a share of the points is missing."""
    rng = np.random.default_rng(seed)
    batch = np.full((len(lengths), max(lengths)), np.nan, dtype=np.float32)
    for row, length in zip(batch, lengths, strict=True):
        walk = rng.standard_normal(length).cumsum()
        walk[: length - 1][rng.random(length - 1) < missing] = np.nan
        row[-length:] = walk
    return batch


def naive(upstream, context, num_output_patches, radii, exclude_reg_query, group_ids=None):
    """Kept mass (radii, layers, heads) and kept edges (radii,) from whole attention tensors."""
    with torch.no_grad():
        encoded, *_ = upstream.encode(
            context=torch.from_numpy(context),
            group_ids=group_ids,
            num_output_patches=num_output_patches,
            output_attentions=True,
        )
    weights = torch.stack(encoded.all_time_self_attn_weights).double().numpy()
    layers, batch, heads, size, _ = weights.shape
    num_context = size - num_output_patches
    cut = np.pad(context, ((0, 0), (-context.shape[1] % PATCH, 0)), constant_values=np.nan)
    observed = ~np.isnan(cut.reshape(batch, -1, PATCH)).all(-1)
    valid = np.concatenate([observed, np.ones((batch, size - observed.shape[1]), bool)], axis=1)
    mass, edges = np.zeros((len(radii), layers, heads)), np.zeros(len(radii))
    count = 0
    for b in range(batch):
        for i in range(num_context - exclude_reg_query):
            if not valid[b, i]:
                continue
            count += 1
            for index, radius in enumerate(radii):
                near = [j for j in range(num_context) if abs(i - j) <= radius and valid[b, j]]
                mass[index] += weights[:, b, :, i][..., near].sum(-1)
                edges[index] += len(near) / valid[b].sum()
    return mass / count, edges / count


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    num_output_patches=st.integers(1, 4),
    exclude_reg_query=st.booleans(),
    missing=st.sampled_from([0.0, 0.95]),
    chunk_size=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_mass_equals_that_of_whole_attention_tensors(
    upstream, model, lengths, num_output_patches, exclude_reg_query, missing, chunk_size, seed
):
    context = ragged(lengths, seed, missing)
    radii = [0, 1, 2, 5, 100]
    found = probe_batch(
        model,
        torch.from_numpy(context),
        num_output_patches=num_output_patches,
        exclude_reg_query=exclude_reg_query,
        chunk_size=chunk_size,
    )
    mass, edges = naive(upstream, context, num_output_patches, radii, exclude_reg_query)
    np.testing.assert_allclose(found.kept_mass(radii), mass, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.kept_edges(radii), edges, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.lift(radii), mass.mean(-1) / edges[:, None], atol=1e-5)


def test_the_inputs_of_the_comparison_are_far_from_uniform(model):
    found = probe_batch(model, torch.from_numpy(ragged([200, 180], 0)))
    assert np.abs(found.kept_mass([1]) / found.kept_edges([1]) - 1).max() > 0.2


def test_a_batch_without_memory_is_measured_in_halves(model, monkeypatch):
    pipeline, sizes = Chronos2VariantPipeline(model), []
    series = list(ragged([64] * 6, 3))
    wanted = attention_mass(pipeline, series, 20)

    def limited(model, context, **options):
        sizes.append(len(context))
        if len(context) > 2:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return probe_batch(model, context, **options)

    monkeypatch.setattr("chronos2_attention.attention_mass.probe_batch", limited)
    found = attention_mass(pipeline, series, 20)
    assert sizes == [6, 3, 2, 1, 2, 1]
    np.testing.assert_allclose(found.by_distance, wanted.by_distance, rtol=1e-5)


def test_series_of_any_lengths_pool_their_queries(upstream, model):
    lengths = [3, 40, 200, 16, 600, 90, 41]
    series = [ragged([length], seed)[0] for seed, length in enumerate(lengths)]
    pipeline = Chronos2VariantPipeline(model, "sparse_r2")
    found = attention_mass(pipeline, series, 20, batch_size=3)
    radii = [1, 3, 50]
    cut = [one[-512:] for one in series]  # the model's own limit
    total, edges, count = 0, 0, 0
    for one in cut:
        queries = -(-len(one) // PATCH) + 1
        mass, near = naive(upstream, one[None], 2, radii, False)
        total, edges, count = total + mass * queries, edges + near * queries, count + queries
    np.testing.assert_allclose(found.kept_mass(radii), total / count, atol=1e-6)
    np.testing.assert_allclose(found.kept_edges(radii), edges / count, atol=1e-12)
    assert (found.num_queries, found.num_context, found.num_future) == (count, 33, 2)
    limited = attention_mass(pipeline, series, 20, context_length=64)
    assert limited.num_context == 5


def test_series_of_a_group_attend_to_each_other(upstream, model):
    group = ragged([100, 100, 100], 3)
    radii = [1, 4]
    found = attention_mass(Chronos2VariantPipeline(model), [group], 16).kept_mass(radii)
    together, _ = naive(upstream, group, 1, radii, False, torch.zeros(3, dtype=torch.long))
    alone, _ = naive(upstream, group, 1, radii, False)
    np.testing.assert_allclose(found, together, atol=1e-6)
    assert np.abs(together - alone).max() > 1e-3


def uniform_model(seed=0):
    """A model whose time attention is uniform: its queries are zero."""
    upstream = build_upstream_model(seed)
    for block in upstream.encoder.block:
        torch.nn.init.zeros_(block.layer[0].self_attention.q.weight)
    return variant_of(upstream)


def local_model():
    """A model whose time attention is local.

    A large constant in all tokens and equal projections of queries and keys let the rotation by
    position alone tell tokens apart.
    """
    upstream = build_upstream_model(initializer_factor=0.4)
    torch.nn.init.constant_(upstream.input_patch_embedding.residual_layer.bias, 3.0)
    torch.nn.init.constant_(upstream.shared.weight, 3.0)
    for block in upstream.encoder.block:
        attention = block.layer[0].self_attention
        attention.k.load_state_dict(attention.q.state_dict())
    return variant_of(upstream)


def test_uniform_attention_has_lift_one_with_padding_too():
    found = probe_batch(uniform_model(), torch.from_numpy(ragged([200, 30, 111], 5, 0.9)))
    np.testing.assert_allclose(found.lift([0, 2, 8, 100]), 1, atol=1e-6)


def test_kept_edges_are_those_of_the_prior_study(repo_root, model):
    prior = pd.read_csv(repo_root / "config" / "reference" / "prior_cbii_mass_per_window.csv")
    sizes = prior[["ctx_tokens", "future_tokens"]].drop_duplicates()
    sizes = sizes[(sizes["ctx_tokens"] <= 33) & (sizes["future_tokens"] <= 4)]
    assert len(sizes) >= 5
    for ctx_tokens, future_tokens in sizes.itertuples(index=False):
        found = probe_batch(
            model,
            torch.from_numpy(ragged([(ctx_tokens - 1) * PATCH], 0)),
            num_output_patches=future_tokens,
        )
        rows = prior[
            (prior[["ctx_tokens", "future_tokens"]] == [ctx_tokens, future_tokens]).all(axis=1)
        ]
        np.testing.assert_allclose(
            found.kept_edges(rows["radius"]), rows["kept_edges_frac_ctxQ"], atol=5e-7
        )


def test_diagonal_sums():
    matrix = torch.arange(12.0).view(3, 4)
    wanted = [matrix.diagonal(offset).sum() for offset in range(-2, 4)]
    assert diagonal_sums(matrix).tolist() == wanted


class LargestTensor(TorchDispatchMode):
    """Remember the most elements of a tensor that any operation returned."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_no_tensor_is_as_large_as_the_weights_of_a_layer(model):
    context = torch.from_numpy(ragged([512] * 4, 0))
    with LargestTensor() as seen:
        found = probe_batch(model, context, chunk_size=8)
    layer = 4 * model.config.num_heads * (found.num_context + found.num_future) ** 2
    assert 0 < seen.elements <= layer / 2


def test_what_cannot_be_measured_is_named(model):
    pipeline = Chronos2VariantPipeline(model)
    with pytest.raises(InputError, match="no series"):
        attention_mass(pipeline, [], 8)
    with pytest.raises(InputError, match="radius -1 is negative"):
        attention_mass(pipeline, [np.arange(9.0)], 8).kept_mass([2, -1])
    # Without an observation REG is the only context token.
    nothing = attention_mass(pipeline, [np.full(20, np.nan)], 8, exclude_reg_query=True)
    assert nothing.num_queries == 0
    assert np.isnan(nothing.lift([2])).all()


RADII = [2, 8, 64]
OPTIONS = {
    "radii": RADII,
    "max_windows_per_task": 2,
    "max_series_per_window": 16,
    "exclude_reg_query": False,
    "settings": ForecastSettings(2),
}


@pytest.fixture(scope="module")
def study_and_paths(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def heads(model, study_and_paths):
    study, paths = study_and_paths
    pipeline = Chronos2VariantPipeline(model, weights_fingerprint="f1")
    return probe_suite(pipeline, study, paths, **OPTIONS)


def test_a_study_is_measured_by_head_layer_and_window(model, heads, study_and_paths):
    _, paths = study_and_paths
    layers, per_window = mean_over(heads, keep=["layer"]), mean_over(heads)
    assert len(heads) == 3 * len(RADII) * 3 * 4
    assert len(layers) == 3 * len(RADII) * 3
    assert len(per_window) == 3 * len(RADII)
    lengths = [len(x) for x in pd.read_parquet(paths["ragged"])["target"]]
    for index, cutoff in enumerate((40, 20)):
        series = [
            x[: len(x) - cutoff].astype(np.float32)
            for x in pd.read_parquet(paths["ragged"])["target"]
        ]
        mass = attention_mass(Chronos2VariantPipeline(model), series, 20)
        rows = per_window[
            (per_window[["task_name", "window_index"]] == ["ragged", index]).all(axis=1)
        ]
        np.testing.assert_allclose(
            rows["kept_mass_frac_ctxQ"], mass.kept_mass(RADII).mean((1, 2)), atol=1e-6
        )
        np.testing.assert_allclose(rows["kept_edges_frac_ctxQ"], mass.kept_edges(RADII), atol=1e-9)
        np.testing.assert_allclose(rows["lift"], mass.lift(RADII).mean(1), rtol=1e-6)
        assert set(rows["ctx_used"]) == {max(lengths) - cutoff}
        assert set(rows["num_series"]) == {5}
        assert set(rows["S_tokens"]) == {mass.num_context + 2}
        assert set(rows["probe_weight_sum"]) == {mass.num_queries}
        by_layer = layers[layers["task_name"].eq("ragged") & layers["window_index"].eq(index)]
        lifts = by_layer.pivot_table(index="radius", columns="layer", values="lift")
        np.testing.assert_allclose(lifts, mass.lift(RADII), rtol=1e-6)


def test_tables_have_the_columns_of_the_prior_study(repo_root, heads):
    prior = pd.read_csv(repo_root / "config" / "reference" / "prior_cbii_mass_per_window.csv")
    assert set(prior.columns) <= set(mean_over(heads).columns)
    assert list(mean_over(heads)["radius"][:3]) == RADII


def test_the_summary_of_the_prior_study_is_the_one_it_published(repo_root, shared_dir):
    prior = pd.read_csv(repo_root / "config" / "reference" / "prior_cbii_mass_per_window.csv")
    published = pd.read_csv(shared_dir / "reference" / "prior_cbii_mass_summary.csv")
    found = summarise(prior)
    pd.testing.assert_frame_equal(found[published.columns], published, check_dtype=False)
    assert found["lift_mean_S>=128"].tolist() == pytest.approx([1] * 7, abs=1e-5)


def test_a_repeated_probe_gives_identical_bytes(model, heads, study_and_paths, tmp_path):
    study, paths = study_and_paths
    pipeline = Chronos2VariantPipeline(model, weights_fingerprint="f1")
    again = probe_suite(pipeline, study, paths, **OPTIONS)
    for name, table in (("a", heads), ("b", again)):
        table.to_parquet(tmp_path / name, index=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_samples_are_capped_seeded_and_independent_of_other_tasks(study_and_paths):
    study, paths = study_and_paths
    task = study.suite.tasks[0]

    def draw(seed, max_series=3):
        windows = sample_windows(
            task, study.suite, paths["ragged"], max_windows=1, max_series=max_series, seed=seed
        )
        return [(window.index, [len(one) for one in window.series]) for window in windows]

    assert draw(0) == draw(0)
    assert [len(series) for _, series in draw(0)] == [3]
    assert len({str(draw(seed)) for seed in range(6)}) > 1
    ((index, lengths),) = draw(0, max_series=99)
    assert lengths == [n - (40, 20)[index] for n in (500, 470, 60, 200, 45)]


def test_a_large_data_set_is_sampled_before_it_is_loaded(study_and_paths, tmp_path, monkeypatch):
    study, _ = study_and_paths
    rows = pd.DataFrame(
        {
            "id": [f"s{index:02d}" for index in range(40)],
            "timestamp": [list(pd.date_range("2020-01-01", periods=60, freq="D"))] * 40,
            "target": [np.full(60, float(index)) for index in range(40)],
        }
    )
    rows.to_parquet(tmp_path / "many.parquet", row_group_size=7)
    monkeypatch.setattr("study.forecasts.slices.ROWS_AT_ONCE", 10)
    loaded = []
    load = samples.fev_task

    def spy(task, suite, path):
        loaded.append(pq.read_metadata(path).num_rows)
        return load(task, suite, path)

    monkeypatch.setattr("study.forecasts.slices.fev_task", spy)

    def draw(max_series):
        return [
            [int(one[0]) for one in window.series]
            for window in sample_windows(
                study.suite.tasks[0],
                study.suite,
                tmp_path / "many.parquet",
                max_windows=2,
                max_series=max_series,
                seed=0,
            )
        ]

    first, second = draw(4)
    assert len(set(first)) == len(set(second)) == 4
    assert first == sorted(first) != second
    assert draw(4) == [first, second]
    assert draw(99) == [list(range(40))] * 2
    assert loaded == [10, 10, 40]


def gate_of(heads):
    return attention_gate(mean_over(heads, keep=["layer"]).assign(padded=False))


def test_gate_4_passes_learned_attention_and_fails_uniform_attention(heads, study_and_paths):
    study, paths = study_and_paths
    (learned,) = gate_of(
        probe_suite(Chronos2VariantPipeline(local_model()), study, paths, **OPTIONS)
    )
    assert learned.verdict == "pass"
    assert learned.value > 1.1
    (uniform,) = gate_of(
        probe_suite(Chronos2VariantPipeline(uniform_model()), study, paths, **OPTIONS)
    )
    assert uniform.verdict == "fail"
    assert uniform.value == pytest.approx(1, abs=1e-6)
    # Fair forecasts do not make up for it.
    fair = GateRow("baseline", "all", 0.8, 1.0, "pass", "")
    valid, reason, _ = summary([fair, uniform])
    assert not valid
    assert "gate attention failed" in reason
    # Three context tokens are all within a radius of 2 of each other.
    (row,) = gate_of(heads[heads["task_name"] == "short"].assign(ctx_tokens=3))
    assert row.verdict == "not applicable"
