"""Attention variants and their names, and the baseline.

One variant has one spelling, used in code, file names, columns and figures.
This module knows neither torch nor files: it is what the workflow imports to
read a name, and what the engine asks which token may see which.

A new variant is a module of this folder with a frozen dataclass that derives
from `AttentionVariant` and says how its name reads (`pattern`), how it is
written (`name`) and, where time attention changes, which keys a query sees
(`sees`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..errors import InputError

_KINDS: list[type[AttentionVariant]] = []
# How the part of a name that is a field's is read, by the field's type; text otherwise.
_READ: dict[Any, Callable[[str], Any]] = {"int": int, "float": float, "bool": bool}


def whole_number(value: Any, name: str, least: int) -> int:
    """Return an integer of any type as Python's, of any size; below `least` an `InputError`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"{name} {value!r}", mend=f"use {name} {least} or more, in whole numbers")
    return number


@dataclass(frozen=True)
class AttentionVariant:
    """One configuration of Chronos-2's attention.

    Immutable and hashable; equal variants have equal names. Use
    `AttentionVariant.parse` to read a name and `str(variant)` to write it.

    Attributes
    ----------
    kind:
        Family of the variant, for example ``"sparse"``.
    pattern:
        Regular expression that a name of this family matches in full; its groups are named as the
        fields that they give.
    example:
        A valid name, shown in error messages.
    sparse_in_time:
        Whether some context query may not see some context key.
    mixes_series:
        Whether series of different groups attend to each other. Then a batch
        must hold series of one cutoff only, and its composition matters.
    joins_groups:
        Whether all series of a batch are one group.
    splits_items:
        Whether each target of an item is forecast by itself, without covariates.
    leaking:
        Whether a batch may hold several cutoffs, so that a series sees another's future: a
        diagnostic, whose results say nothing about accuracy.
    """

    kind: ClassVar[str] = ""
    pattern: ClassVar[str] = ""
    example: ClassVar[str] = ""
    sparse_in_time: ClassVar[bool] = False
    mixes_series: ClassVar[bool] = False
    joins_groups: ClassVar[bool] = False
    splits_items: ClassVar[bool] = False
    leaking = False

    def __init_subclass__(cls) -> None:
        _KINDS.append(cls)

    @staticmethod
    def parse(name: str | AttentionVariant) -> AttentionVariant:
        """Read a variant's name, for example ``"full"``; a variant is returned as it is.

        Raises
        ------
        InputError
            If no family knows the name, or it is not the one spelling of its variant
            (``sparse_r08``).
        """
        if isinstance(name, AttentionVariant):
            return name
        readable = isinstance(name, str) and len(name) <= 4000  # Python reads 4300 digits at most
        for kind in _KINDS if readable else ():
            match = re.fullmatch(kind.pattern, name)
            if match is not None:
                types = {field.name: field.type for field in fields(kind)}
                parts = ((field, part) for field, part in match.groupdict().items() if part)
                variant = kind(**{n: _READ.get(types[n], str)(part) for n, part in parts})
                if variant.name == name:
                    return variant
        known = ", ".join(kind.example for kind in _KINDS)
        raise InputError(f"unknown attention variant '{name}'", mend=f"use one of: {known}")

    @staticmethod
    def patterns() -> list[str]:
        """Return the regular expressions of all families, for matching file names."""
        return [kind.pattern for kind in _KINDS]

    @property
    def name(self) -> str:
        """The variant's one spelling."""
        return self.kind

    def __str__(self) -> str:
        return self.name

    def sees(self, query: Any, key: Any, num_context: int) -> Any:
        """Say which key tokens a query token may see, padding aside.

        Parameters
        ----------
        query, key:
            Token positions, integer arrays or tensors that broadcast against each other,
            usually of shapes (S, 1) and (1, S).
        num_context:
            Number of context tokens, REG included; tokens from there on are future tokens.

        Returns
        -------
        Boolean array of the broadcast shape.
        """
        return (query >= 0) & (key >= 0)


@dataclass(frozen=True)
class Full(AttentionVariant):
    """Dense time attention, hard groups: the baseline, as upstream computes it."""

    kind: ClassVar[str] = "full"
    pattern: ClassVar[str] = "full"
    example: ClassVar[str] = "full"
