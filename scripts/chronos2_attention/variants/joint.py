"""One group for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import AttentionVariant


@dataclass(frozen=True)
class Joint(AttentionVariant):
    """All series of a batch in one group, upstream's ``cross_learning=True``.

    Parameters
    ----------
    leaking:
        Diagnostic: let series of different cutoffs share a batch, so that one sees another's
        future.
    """

    leaking: bool = False

    kind: ClassVar[str] = "joint"
    pattern: ClassVar[str] = "joint(?P<leaking>_leaking)?"
    example: ClassVar[str] = "joint"
    mixes_series: ClassVar[bool] = True
    joins_groups: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"joint{'_leaking' if self.leaking else ''}"
