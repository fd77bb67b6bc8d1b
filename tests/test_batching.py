"""Batches by length: a partition, little padding, the same forecasts, and halving."""

import itertools
import logging
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chronos2_attention import Chronos2VariantPipeline, InputError
from chronos2_attention.attention_mass import attention_mass
from chronos2_attention.batching import (
    FlatSeries,
    batches_by_length,
    in_batches,
    is_univariate,
    split,
)

ITEMS = st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 9)), min_size=1, max_size=60)


@given(ITEMS, st.integers(1, 32), st.integers(1, 1000), st.integers(0, 100))
def test_batches_partition_the_items_within_their_limits(items, batch_size, max_tokens, start):
    lengths, sizes = np.array(items).T
    batches = batches_by_length(
        lengths,
        sizes,
        batch_size=batch_size,
        patch_size=16,
        max_tokens=max_tokens,
        start_tokens=start,
    )
    assert sorted(np.concatenate(batches)) == list(range(len(items)))
    tokens = -(-lengths // 16) + 2
    for batch in batches:
        assert (np.diff(batch) > 0).all()
        assert len(batch) == 1 or sizes[batch].sum() <= batch_size
        assert len(batch) == 1 or sizes[batch].sum() * tokens[batch].max() <= max_tokens


@given(st.lists(st.integers(1, 12), min_size=1, max_size=7), st.data())
def test_no_other_cuts_of_sorted_lengths_cost_less(counts, data):
    start = data.draw(st.integers(0, 60))
    distinct = st.lists(st.integers(1, 90), min_size=len(counts), max_size=len(counts), unique=True)
    patches = np.array(sorted(data.draw(distinct)))
    lengths = np.repeat(patches, counts) * 16

    def cost(batches):
        return sum(len(b) * (lengths[b].max() // 16 + 3) + start for b in batches)

    found = batches_by_length(
        lengths,
        np.ones(len(lengths), int),
        batch_size=1000,
        patch_size=16,
        extra_tokens=3,
        max_tokens=10**9,
        start_tokens=start,
    )
    ends = np.cumsum(counts)
    ways = itertools.product([False, True], repeat=len(counts) - 1)
    every = (np.split(np.arange(len(lengths)), ends[:-1][list(way)]) for way in ways)
    assert cost(found) == min(map(cost, every))


def test_batches_of_one_length_are_even():
    found = batches_by_length(
        np.full(300, 40), np.ones(300, int), batch_size=256, patch_size=16, max_tokens=10**6
    )
    assert [len(batch) for batch in found] == [150, 150]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 50), st.data())
def test_left_padded_equals_one_row_at_a_time(lengths, kept, data):
    rng = np.random.default_rng(0)
    series = [rng.normal(size=n) for n in lengths]
    series = [torch.from_numpy(s) if i % 2 else s for i, s in enumerate(series)]
    order = st.lists(st.integers(0, len(series) - 1), min_size=1, max_size=5)
    rows = np.array(data.draw(order))
    found = FlatSeries.of(series, kept).left_padded(rows).numpy()
    for row, index in zip(found, rows, strict=True):
        wanted = np.asarray(series[index])[-kept:].astype(np.float32)
        np.testing.assert_array_equal(row[len(row) - len(wanted) :], wanted)
        assert np.isnan(row[: len(row) - len(wanted)]).all()
    assert found.shape[1] == min(kept, max(lengths[index] for index in rows))


def test_what_counts_as_univariate():
    assert is_univariate([torch.zeros(3), np.zeros(4)])
    assert not is_univariate([torch.zeros(1, 3)])
    assert not is_univariate([{"target": np.zeros(3)}])
    assert not is_univariate(torch.zeros(2, 1, 5))
    assert not is_univariate([torch.zeros(3), torch.zeros(0)])


def test_split_keeps_the_order():
    parts = split(np.arange(7), 3)
    assert [list(part) for part in parts] == [[0, 1, 2], [3, 4, 5], [6]]


MEMORY_ERRORS = [
    torch.OutOfMemoryError("simulated"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"
    ),
]


class LimitedMemory:
    """Wraps a pipeline's step so that batches above a size run out of memory."""

    def __init__(self, pipeline, limit, error=MEMORY_ERRORS[0]):
        self.step, self.limit, self.error, self.seen = pipeline._predict_step, limit, error, []

    def __call__(self, context, **kwargs):
        self.seen.append(len(context))
        if len(context) > self.limit:
            raise self.error
        return self.step(context=context, **kwargs)


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=str)
@pytest.mark.parametrize("kind", ["univariate", "multivariate"])
def test_out_of_memory_halves_the_batch_and_says_so(
    checkpoint_dir, monkeypatch, caplog, kind, error
):
    pipeline = Chronos2VariantPipeline.from_pretrained(checkpoint_dir)
    rng = np.random.default_rng(1)
    shape = () if kind == "univariate" else (1,)
    inputs = [rng.normal(size=(*shape, n)).astype(np.float32) for n in (20, 30, 25, 90, 85, 22, 28)]
    wanted = pipeline.predict(inputs, prediction_length=10)
    limited = LimitedMemory(pipeline, 2, error)
    monkeypatch.setattr(pipeline, "_predict_step", limited)
    with caplog.at_level(logging.WARNING):
        found = pipeline.predict(inputs, prediction_length=10)
    assert "out of memory" in caplog.text
    assert max(limited.seen) > 2
    assert sum(size for size in limited.seen if size <= 2) == len(inputs), "nothing is done twice"
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


SERIES = [np.arange(20.0), np.arange(30.0)]
UNDIVIDED = {
    "a series alone": lambda p: p.predict(SERIES, 4),
    "joint": lambda p: p.with_variant("joint").predict(SERIES, 4),
    "cross_learning": lambda p: p.predict_quantiles(SERIES, 4, cross_learning=True),
    "a block": lambda p: p.with_variant("joint").predict(SERIES, 4, cutoffs=[1, 1]),
    "each target": lambda p: p.with_variant("univariate").predict([np.ones((2, 20))], 4),
    "embed": lambda p: p.embed(SERIES),
    "the probe": lambda p: attention_mass(p, SERIES, 4),
}


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=str)
@pytest.mark.parametrize("kind", UNDIVIDED)
def test_what_cannot_be_divided_names_the_settings_in_one_line(
    checkpoint_dir, monkeypatch, kind, error
):
    def tokens(*args, **kwargs):
        raise error

    pipeline = Chronos2VariantPipeline.from_pretrained(checkpoint_dir)
    monkeypatch.setattr("chronos2_attention.model.Chronos2VariantModel.tokens", tokens)
    with pytest.raises(InputError, match=r"out of memory .*lower batch_size") as caught:
        UNDIVIDED[kind](pipeline)
    assert isinstance(caught.value, torch.OutOfMemoryError)  # as upstream's users catch it
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)


def test_what_a_batch_held_is_gone_before_memory_is_given_back(monkeypatch):
    held = []

    def forecast(batch):
        tensor = torch.zeros(len(batch))
        held.append(weakref.ref(tensor))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("simulated")
        return batch

    given_back = []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: given_back.append([one() for one in held])
    )
    assert in_batches(forecast, [np.arange(5)]) == [0, 1, 2, 3, 4]
    assert given_back == [[None], [None, None]]


def test_an_error_that_is_not_of_memory_halves_nothing():
    def forecast(batch):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        in_batches(forecast, [np.arange(4)])


def test_the_next_batch_is_assembled_while_one_is_forecast():
    batches, begun, events = [np.arange(2), np.arange(2, 4)], threading.Event(), []

    def assemble(batch):
        events.append(("assembled", batch[0]))
        if batch[0]:
            begun.set()
        return batch

    def forecast(batch):
        assert begun.wait(20)  # forever, were the next assembled after this
        events.append(("forecast", batch[0]))
        return batch

    assert in_batches(forecast, batches, assemble) == [0, 1, 2, 3]
    assert events[:3] == [("assembled", 0), ("assembled", 2), ("forecast", 0)]
