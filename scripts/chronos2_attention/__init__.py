"""Chronos-2 with other attention, at inference time and on the same weights.

>>> from chronos2_attention import AttentionVariant, Chronos2VariantPipeline  # doctest: +SKIP
>>> pipeline = Chronos2VariantPipeline.from_pretrained(
...     "amazon/chronos-2", variant="sparse_r8")  # doctest: +SKIP

Names that need torch are imported on first use, so that reading a variant's
name stays cheap.
"""

from typing import TYPE_CHECKING

from .errors import InputError
from .variants import AttentionVariant

if TYPE_CHECKING:
    from .pipeline import Chronos2VariantPipeline

__all__ = ["AttentionVariant", "Chronos2VariantPipeline", "InputError"]


def __getattr__(name: str):
    if name == "Chronos2VariantPipeline":
        from .pipeline import Chronos2VariantPipeline

        return Chronos2VariantPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
