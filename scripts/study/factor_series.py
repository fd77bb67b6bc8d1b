"""Series of which it is known whether one can tell of another's future.

The proof that a study can find what it looks for: series of one group follow a common factor, and
some see it `lead` steps before the others, so that a follower's next steps stand in a leader's
past. Groups are independent. A group of one series has nobody to learn from.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from study.series_table import Series
from study.specs import FactorGroups

# Steps that the factor runs before it is observed, so that its start does not show.
BURN_IN = 200
PERSISTENCE = 0.95
SMOOTHING = 8


def factor_series(groups: FactorGroups) -> list[Series]:
    """Draw the series of independent groups.

    The factor of a group is an autoregression with coefficient 0.95, averaged over 8 steps and
    scaled to variance 1. A series is the factor, seen `lead` steps early by leaders, plus white
    noise; then scaled by a log-normal factor and moved by a normal offset, so that level and scale
    tell nothing of the group.

    Parameters
    ----------
    groups:
        Numbers, sizes and the seed, which alone decides the values.

    Returns
    -------
    Daily series from 2020-01-01, all of one length, named ``g<group>_leader<i>`` or
    ``g<group>_follower<i>``, with i counted through the group.
    """
    rng = np.random.default_rng(groups.seed)
    stamps = np.datetime64("2020-01-01", "us") + np.arange(groups.length) * np.timedelta64(1, "D")
    found = []
    for group in range(groups.groups):
        shocks = rng.normal(size=BURN_IN + groups.length + groups.lead + SMOOTHING - 1)
        path = lfilter([1.0], [1.0, -PERSISTENCE], shocks)
        factor = np.convolve(path, np.full(SMOOTHING, 1 / SMOOTHING), "valid")[BURN_IN:]
        factor = (factor - factor.mean()) / factor.std()
        roles = [("leader", groups.lead)] * groups.leaders + [("follower", 0)] * groups.followers
        for index, (role, early) in enumerate(roles):
            seen = factor[early : early + groups.length]
            seen = seen + groups.noise * rng.normal(size=groups.length)
            values = np.exp(rng.normal()) * seen + 5 * rng.normal()
            found.append(Series(f"g{group}_{role}{index}", stamps, {"target": values}))
    return found
