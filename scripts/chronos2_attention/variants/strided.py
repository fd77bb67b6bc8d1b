"""Sparse time attention with tokens in between that see and are seen by all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import InputError
from .base import AttentionVariant


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
        if self.radius < 0 or self.every < 1:
            raise InputError(
                f"radius {self.radius} and every {self.every}",
                mend="use a radius of 0 or more, and every 1 or more",
            )

    @classmethod
    def from_match(cls, match: re.Match[str]) -> Strided:
        return cls(radius=int(match["radius"]), every=int(match["every"]))

    @property
    def name(self) -> str:
        return f"sparse_r{self.radius}_every{self.every}"

    def sees(self, query: Any, key: Any, num_context: int) -> Any:
        def is_global(position: Any) -> Any:
            return (num_context - 1 - position) % self.every == 0

        near = abs(query - key) <= self.radius
        return (query >= num_context) | (
            (key < num_context) & (near | is_global(query) | is_global(key))
        )
