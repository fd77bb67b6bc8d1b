"""The baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import AttentionVariant


@dataclass(frozen=True)
class Full(AttentionVariant):
    """Dense time attention, hard groups: the baseline, as upstream computes it."""

    kind: ClassVar[str] = "full"
    pattern: ClassVar[str] = "full"
    example: ClassVar[str] = "full"
