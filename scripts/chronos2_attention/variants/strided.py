"""Sparse time attention with tokens in between that see and are seen by all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .base import AttentionVariant, whole_number


@dataclass(frozen=True)
class Strided(AttentionVariant):
    """Windowed past and global future, and every so-manieth context token global as well.

    Global tokens see all context tokens and are seen by them. They are counted back from REG,
    which is the first, so that neither padding nor the batch decides which tokens they are.

    Parameters
    ----------
    radius:
        Largest distance in tokens of the others, at least 0.
    every:
        Tokens from one global token to the next, at least 1.
    """

    radius: int
    every: int

    kind: ClassVar[str] = "strided"
    pattern: ClassVar[str] = r"sparse_r(?P<radius>\d+)_every(?P<every>\d+)"
    example: ClassVar[str] = "sparse_r8_every32"
    sparse_in_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", whole_number(self.radius, "radius", 0))
        object.__setattr__(self, "every", whole_number(self.every, "every", 1))

    @property
    def name(self) -> str:
        return f"sparse_r{self.radius}_every{self.every}"

    def sees(self, query: Any, key: Any, num_context: int) -> Any:
        # No further than integers of 64 bits reach.
        radius, every = min(self.radius, num_context), min(self.every, max(1, num_context))

        def is_global(position: Any) -> Any:
            return (num_context - 1 - position) % every == 0

        near = abs(query - key) <= radius
        return (query >= num_context) | (
            (key < num_context) & (near | is_global(query) | is_global(key))
        )
