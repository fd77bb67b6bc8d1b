"""Sparse time attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .base import AttentionVariant, whole_number


@dataclass(frozen=True)
class Sparse(AttentionVariant):
    """Windowed past and global future.

    A context query sees context keys at most `radius` tokens away and no future
    token; a future query sees all tokens. A radius beyond the sequence length is
    therefore not `full`, where context queries see future tokens.

    Parameters
    ----------
    radius:
        Largest distance in tokens, at least 0 (then a token sees itself only).
    reg_is_global:
        Whether the REG query, the last context token, sees all context keys.
    """

    radius: int
    reg_is_global: bool = False

    kind: ClassVar[str] = "sparse"
    pattern: ClassVar[str] = r"sparse_r(?P<radius>\d+)(?P<reg_is_global>_regglobal)?"
    example: ClassVar[str] = "sparse_r8"
    sparse_in_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", whole_number(self.radius, "radius", 0))

    @property
    def name(self) -> str:
        return f"sparse_r{self.radius}{'_regglobal' if self.reg_is_global else ''}"

    def sees(self, query: Any, key: Any, num_context: int) -> Any:
        radius = min(self.radius, num_context)  # no further than integers of 64 bits reach
        windowed = (key < num_context) & (abs(query - key) <= radius)
        if self.reg_is_global:
            windowed = windowed | ((query == num_context - 1) & (key < num_context))
        return (query >= num_context) | windowed
