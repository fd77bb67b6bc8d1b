"""Hard groups of more than one item: of one label, or of similar contexts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from .base import AttentionVariant, whole_number
from .soft import MEASURES


@dataclass(frozen=True)
class Grouped(AttentionVariant):
    """Items of one value of a static column are one group, of whatever size.

    Parameters
    ----------
    column:
        Name of the column, of letters, digits and ``_``; `Chronos2VariantPipeline.predict` is told
        its values as ``groups``.
    """

    column: str

    kind: ClassVar[str] = "grouped"
    pattern: ClassVar[str] = r"grouped_(?P<column>[A-Za-z0-9_]+)"
    example: ClassVar[str] = "grouped_region"
    mixes_series: ClassVar[bool] = True
    joins_groups: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Za-z0-9_]+", self.column):
            raise InputError(f"column '{self.column}' of groups", mend="use letters, digits and _")

    @property
    def name(self) -> str:
        return f"grouped_{self.column}"


@dataclass(frozen=True)
class Cluster(AttentionVariant):
    """Hard groups of at most `most` similar items of a batch, by average linkage.

    The similarity of two items is the mean over their series, covariates included; a group is a
    largest branch of the tree with no more than `most` items.

    Parameters
    ----------
    measure:
        ``correlation``, ``cosine`` or ``distance``, see `chronos2_attention.similarity`.
    most:
        Items of a group, at least 1.

    Raises
    ------
    InputError
        If a value is none of these.
    """

    measure: str
    most: int

    kind: ClassVar[str] = "cluster"
    pattern: ClassVar[str] = rf"cluster_(?P<measure>{'|'.join(MEASURES)})_k(?P<most>[1-9]\d*)"
    example: ClassVar[str] = "cluster_correlation_k4"
    mixes_series: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            known = ", ".join(MEASURES)
            raise InputError(f"unknown measure '{self.measure}'", mend=f"use one of: {known}")
        object.__setattr__(self, "most", whole_number(self.most, "items of a cluster", 1))

    @property
    def name(self) -> str:
        return f"cluster_{self.measure}_k{self.most}"
