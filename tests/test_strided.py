"""A variant added as one file: its name, who sees whom, and its forecasts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline, InputError
from chronos2_attention.variants.strided import Strided


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_names_round_trip(radius, every):
    variant = Strided(radius, every)
    assert AttentionVariant.parse(str(variant)) == variant


def test_a_stride_of_zero_is_refused():
    with pytest.raises(InputError, match="every 1 or more"):
        AttentionVariant.parse("sparse_r8_every0")


@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 5), st.integers(1, 6))
def test_it_sees_what_the_definition_says(num_context, num_future, radius, every):
    size = num_context + num_future
    hubs = set(range(num_context - 1, -1, -every))
    position = np.arange(size)
    seen = Strided(radius, every).sees(position[:, None], position[None, :], num_context)
    for i in range(size):
        for j in range(size):
            in_context = j < num_context and (abs(i - j) <= radius or i in hubs or j in hubs)
            assert seen[i, j] == (i >= num_context or in_context)


def test_forecasts_do_not_depend_on_the_batch_and_every_one_is_global(checkpoint_dir):
    pipeline = Chronos2VariantPipeline.from_pretrained(checkpoint_dir, variant="sparse_r1_every5")
    rng = np.random.default_rng(0)
    series = [torch.tensor(rng.normal(size=n).cumsum()).float() for n in (400, 390, 330, 90)]
    together = pipeline.predict(series, 16, batch_size=4)
    for one, found in zip(series, together, strict=True):
        alone = pipeline.predict([one], 16)[0]
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-4)
    # With every token global, the radius does not matter.
    wide = pipeline.with_variant("sparse_r400").predict(series, 16)
    for found, wanted in zip(
        pipeline.with_variant("sparse_r0_every1").predict(series, 16), wide, strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    windowed = pipeline.with_variant("sparse_r1").predict(series, 16)
    assert (windowed[0] - together[0]).abs().max() > 1e-4
