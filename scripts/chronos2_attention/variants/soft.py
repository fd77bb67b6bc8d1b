"""Soft group masks and the controls that show whether similarity is what helps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from ..errors import InputError
from .base import AttentionVariant

MEASURES = ("correlation", "cosine", "distance")
CONTROLS = ("permuted", "uniform")


@dataclass(frozen=True)
class Soft(AttentionVariant):
    """Group attention weighted by the similarity of the series.

    Within a group the weight is w = 1, across groups the similarity s in [0, 1] of the two
    series' contexts; ``temperature * log(w + 1e-10)`` is added to the scores. A larger
    temperature is therefore stricter: 0 is `joint`, and a very large one is `full`.

    Parameters
    ----------
    measure:
        ``correlation``, ``cosine`` or ``distance``, see `chronos2_attention.similarity`; or
        ``uniform``, where each pair of groups has s = 0.5, the similarity of series of which
        nothing is known.
    temperature:
        At least 0 and finite.
    control:
        ``permuted`` shuffles the similarities among the pairs of series of different groups,
        ``uniform`` gives each such pair their mean; None takes them as they are.
    leaking:
        Diagnostic: let series of different cutoffs share a batch, so that one sees another's
        future.

    Raises
    ------
    InputError
        If a value is none of these.
    """

    measure: str
    temperature: float
    control: str | None = None
    leaking: bool = False

    kind: ClassVar[str] = "soft"
    pattern: ClassVar[str] = (
        rf"soft_(?P<measure>{'|'.join(MEASURES)}|uniform)(?:(?<!uniform)-(?P<control>{'|'.join(CONTROLS)}))?"
        r"_t(?P<temperature>\d+(?:\.\d+)?)(?P<leaking>_leaking)?"
    )
    example: ClassVar[str] = "soft_correlation_t5"
    mixes_series: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.measure not in (*MEASURES, "uniform"):
            known = ", ".join((*MEASURES, "uniform"))
            raise InputError(f"unknown measure '{self.measure}'", mend=f"use one of: {known}")
        if self.control not in (None, *CONTROLS):
            known = ", ".join(CONTROLS)
            raise InputError(f"unknown control '{self.control}'", mend=f"use one of: {known}")
        if self.measure == "uniform" and self.control is not None:
            raise InputError(
                f"measure 'uniform' has no control '{self.control}'", mend="leave the control out"
            )
        try:
            temperature = float(self.temperature) + 0.0  # no negative zero
        except (TypeError, ValueError, OverflowError):
            temperature = math.nan
        if not (math.isfinite(temperature) and temperature >= 0):
            raise InputError(f"temperature {self.temperature!r}", mend="use a number of 0 or more")
        object.__setattr__(self, "temperature", temperature)

    @property
    def name(self) -> str:
        control = f"-{self.control}" if self.control else ""
        # Whole, or the shortest digits that read back as the same number, without an exponent.
        whole = self.temperature.is_integer()
        temperature = f"{Decimal(int(self.temperature) if whole else repr(self.temperature)):f}"
        leaking = "_leaking" if self.leaking else ""
        return f"soft_{self.measure}{control}_t{temperature}{leaking}"
