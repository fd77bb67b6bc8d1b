"""How far long work is and how much it was: bars as records of the log, and counts."""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

log = logging.getLogger("study.progress")

# Seconds: shorter work says nothing, longer work speaks so often.
QUIET, INTERVAL = 2.0, 10.0


class _Records(tqdm):
    """A bar that writes itself to the log."""

    _begun: float | None = None
    _next = 0.0

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        done = self.total is not None and self.n >= self.total
        if now - self._begun < QUIET or (not done and now < self._next) or self._next == math.inf:
            return
        self._next = math.inf if done else now + INTERVAL
        log.info("%s", self)


def progress(iterable: Iterable | None = None, **options: Any) -> tqdm:
    """Return a `tqdm` bar that writes a record to the log every ten seconds, and at its end."""
    return _Records(iterable, **{"file": io.StringIO(), "ncols": 90, "ascii": " =", **options})


@dataclass
class Work:
    """What a job did, in windows, series of them, and tokens: patches, REG and the horizon's."""

    patch: int
    windows: int = 0
    series: int = 0
    tokens: int = 0
    started: float = field(default_factory=time.perf_counter)

    def add(self, lengths: Sequence[int], horizon: int, limit: int) -> None:
        """Count a window of series of these lengths, of which `limit` at most are used."""
        self.windows += 1
        self.series += len(lengths)
        future = 1 + math.ceil(horizon / self.patch)
        patches = [math.ceil(min(int(length), limit) / self.patch) for length in lengths]
        self.tokens += sum(patches) + future * len(lengths)

    def __str__(self) -> str:
        counts = f"{self.windows} windows, {self.series} series, {self.tokens} tokens"
        return f"{counts} in {time.perf_counter() - self.started:.1f} seconds"
