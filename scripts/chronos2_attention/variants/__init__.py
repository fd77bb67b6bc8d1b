"""Attention variants and their names, one module a family.

Every module of this folder is read, so a new family is one new file.
"""

from importlib import import_module
from pkgutil import iter_modules

from .base import AttentionVariant, Full
from .grouped import Cluster, Grouped
from .joint import Joint
from .soft import Soft
from .sparse import Sparse
from .univariate import Univariate

__all__ = [
    "AttentionVariant",
    "Cluster",
    "Full",
    "Grouped",
    "Joint",
    "Soft",
    "Sparse",
    "Univariate",
]

for _module in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
