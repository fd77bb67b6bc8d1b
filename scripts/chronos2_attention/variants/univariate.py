"""Each target by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import AttentionVariant


@dataclass(frozen=True)
class Univariate(AttentionVariant):
    """Each target alone and covariates unused, upstream's ``as_univariate=True``.

    Source: `chronos.chronos2.Chronos2Pipeline.predict_fev`.
    """

    kind: ClassVar[str] = "univariate"
    pattern: ClassVar[str] = "univariate"
    example: ClassVar[str] = "univariate"
    splits_items: ClassVar[bool] = True
