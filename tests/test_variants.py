"""Names of variants, and which token sees which."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos2_attention import AttentionVariant, InputError
from chronos2_attention.variants import Full, Joint, Soft, Sparse


@given(st.integers(0, 10_000), st.booleans())
def test_sparse_names_round_trip(radius, reg_is_global):
    variant = Sparse(radius, reg_is_global)
    assert AttentionVariant.parse(str(variant)) == variant


@given(
    st.sampled_from(["correlation", "cosine", "distance", "uniform"]),
    st.integers(0, 10**7) | st.decimals(0, 100, places=3).map(float),
    st.sampled_from([None, "permuted", "uniform"]),
    st.booleans(),
)
def test_soft_names_round_trip(measure, temperature, control, leaking):
    control = None if measure == "uniform" else control
    variant = Soft(measure, float(temperature), control, leaking)
    assert AttentionVariant.parse(str(variant)) == variant


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("full", Full()),
        ("joint", Joint()),
        ("joint_leaking", Joint(leaking=True)),
        ("soft_correlation_t5", Soft("correlation", 5)),
        ("soft_cosine-permuted_t0.5", Soft("cosine", 0.5, "permuted")),
        ("soft_distance-uniform_t0", Soft("distance", 0, "uniform")),
        ("soft_uniform_t20", Soft("uniform", 20)),
        ("soft_correlation_t5_leaking", Soft("correlation", 5, leaking=True)),
    ],
)
def test_plain_names_round_trip(name, variant):
    assert AttentionVariant.parse(name) == variant
    assert str(variant) == name


@pytest.mark.parametrize(
    "name",
    ["", "Full", "full ", "sparse", "sparse_r", "sparse_r-1", "sparse_rx", "sparse_r08",
     "sparse_r8.5", "sparse_r8_", "sparse_r8_global", "../full", "joint_r8",
     "soft_correlation_t5.0", "soft_correlation_t05", "soft_correlation_t-1", "soft_pearson_t5",
     "soft_uniform-permuted_t5", "soft_correlation-shuffled_t5", "soft_correlation_tnan"],
)  # fmt: skip
def test_other_names_are_refused_by_name(name):
    with pytest.raises(InputError, match="unknown attention variant") as caught:
        AttentionVariant.parse(name)
    assert f"'{name}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_variants_are_immutable_and_hashable():
    variant = Sparse(8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        variant.radius = 9
    assert len({Sparse(8), Sparse(8), Sparse(9)}) == 2


def seen_by_definition(i, j, num_context, radius, reg_is_global):
    """Design, section 2, one pair at a time."""
    if i >= num_context:
        return True
    if j >= num_context:
        return False
    return abs(i - j) <= radius or (reg_is_global and i == num_context - 1)


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 14), st.booleans())
def test_sparse_sees_what_the_definition_says(num_context, num_future, radius, reg_is_global):
    size = num_context + num_future
    position = np.arange(size)
    seen = Sparse(radius, reg_is_global).sees(position[:, None], position[None, :], num_context)
    wanted = [
        [seen_by_definition(i, j, num_context, radius, reg_is_global) for j in range(size)]
        for i in range(size)
    ]
    np.testing.assert_array_equal(seen, wanted)


def test_a_radius_beyond_the_sequence_is_not_full():
    position = np.arange(6)
    seen = Sparse(100).sees(position[:, None], position[None, :], 4)
    assert not seen[0, 5]
    assert Full().sees(position[:, None], position[None, :], 4).all()
