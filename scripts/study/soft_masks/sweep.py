"""The sweep over soft masks: which variants it holds, and how a row of results names them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pandas as pd

from chronos2_attention import AttentionVariant, InputError
from chronos2_attention.variants import Soft
from chronos2_attention.variants.soft import MEASURES

JOINT = "joint"
# From each target alone to all items of a batch.
LADDER = ("univariate", "full", JOINT)
NO_CONTROL = "none"
ANY_MEASURE = "any"


def sweep_variants(
    measures: Sequence[str], temperatures: Sequence[float], controls: Sequence[str]
) -> list[str]:
    """`joint`, then every measure at every temperature, each followed by its controls."""
    settings = product(measures, map(float, temperatures), (None, *controls))
    return [JOINT, *(Soft(*setting).name for setting in settings)]


def setting_of(variant: str) -> dict[str, object]:
    """Columns `measure`, `temperature` and `control`; `joint` is 0 of any measure."""
    if variant == JOINT:
        return {"measure": ANY_MEASURE, "temperature": 0.0, "control": NO_CONTROL}
    soft = AttentionVariant.parse(variant)
    if not isinstance(soft, Soft):
        raise InputError(f"variant '{variant}' is no soft mask", mend=f"use {Soft.example}")
    control = soft.control or NO_CONTROL
    return {"measure": soft.measure, "temperature": soft.temperature, "control": control}


def is_soft(table: pd.DataFrame) -> pd.Series:
    """Which rows of results are of soft masks themselves, neither controls nor `joint`."""
    return (table["control"] == NO_CONTROL) & (table["measure"] != ANY_MEASURE)


def control_of(variant: str, control: str) -> str | None:
    """Return the name of a soft mask's control; None for a control and for what is no soft mask."""
    soft = AttentionVariant.parse(variant)
    if not isinstance(soft, Soft) or soft.control or soft.measure not in MEASURES:
        return None
    return Soft(soft.measure, soft.temperature, control).name


def with_controls(variant: str, controls: Sequence[str]) -> list[str]:
    """Return a variant's name and, where it is a soft mask itself, those of its controls."""
    return [variant, *filter(None, (control_of(variant, control) for control in controls))]
