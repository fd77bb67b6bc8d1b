"""What a study answers: its question, one sentence, and the effects that are drawn beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from study.config.plans import EXPLORATORY
from study.evaluation.statistics import BETTER, EQUIVALENT, NOT_TESTED, WORSE
from study.soft_masks.group_value import ALL, SAID, sentences

COLOURS = {BETTER: "#15803d", WORSE: "#b91c1c", EQUIVALENT: "#0369a1"}

UNTOLD = "It cannot be told from this study"


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a sentence, `effects` to draw, and what else there is to say.

    An effect holds percentages of the baseline's MASE: `change` (below 0 the variant is better),
    its 95 % interval `low` to `high`, and `margin`, within which it would be equivalent; with a
    `label`, its `verdict`, and whether it is a `control`.
    """

    question: str
    answer: str
    effects: list[dict[str, Any]] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    @property
    def limit(self) -> float:
        """Where the axis of the effects ends, in percent."""
        ends = [abs(effect[end]) for effect in self.effects for end in ("low", "high")]
        return 1.05 * max([1.0, *ends])

    @property
    def drawn(self) -> list[dict[str, Any]]:
        """The effects with their places from left to right, in percent of the axis, and colours."""
        return [
            {
                **effect,
                **{f"{end}_at": self._at(effect[end]) for end in ("low", "change", "high")},
                "margin_at": [self._at(sign * effect["margin"]) for sign in (-1, 1)],
                "colour": COLOURS.get(effect["verdict"], "#475569"),
            }
            for effect in self.effects
        ]

    def _at(self, change: float) -> float:
        return float(np.clip(50 + 50 * change / self.limit, 0, 100).round(2))


def with_percent(summary: pd.DataFrame) -> pd.DataFrame:
    """Add the mean log ratio and its interval as changes of MASE in percent."""
    names = {"change": "mean", "low": "ci_low", "high": "ci_high"}
    return summary.assign(
        **{
            f"{new}_percent": 100 * np.expm1(summary[f"log_ratio_{old}"])
            for new, old in names.items()
            if f"log_ratio_{old}" in summary
        }
    )


def _found(effect: Mapping[str, Any], row: Mapping[str, Any], unit: str = "sources") -> str:
    """Say an effect, its interval, and the smallest that its row could have found."""
    return (
        f"MASE by {effect['change']:+.1f} % (95 % interval {effect['low']:+.1f} to"
        f" {effect['high']:+.1f} %, {row['n_clusters']:g} {unit}); a change of"
        f" {100 * row['effect_80']:.1f} % would have been found four times in five."
    )


def sparse_answer(summary: pd.DataFrame) -> Answer:
    """Answer for sparse attention, from the rows of ``radius_summary.csv``.

    The answer is that of the radius which a plan names, else of the smallest that was tested.
    """
    question = (
        "What is lost in accuracy when a context token attends to its r neighbours only (windowed"
        " past, global future)?"
    )
    leads = {
        BETTER: "Nothing, it gains",
        WORSE: "Accuracy is lost",
        EQUIVALENT: "Nothing within {margin:g} %",
    }
    effects, rows = [], with_percent(summary).to_dict("records")
    for row in rows:
        cut = not np.isnan(row["radius"])
        effect = {
            "label": f"r = {row['radius']:g}" if cut else "future hidden, nothing cut",
            **{end: row[f"{end}_percent"] for end in ("change", "low", "high")},
            **{"margin": 100 * row["tost_margin"], "verdict": row["verdict_family"]},
            "control": not cut,
        }
        effects.append(effect)
    tested = [
        (row.get("plan", EXPLORATORY) == EXPLORATORY, effect["control"], row["radius"], index)
        for index, (row, effect) in enumerate(zip(rows, effects, strict=True))
        if row["verdict_family"] != NOT_TESTED
    ]
    if not tested:
        return Answer(question, "Nothing was tested.", details=sparse_sentences(summary))
    index = min(tested)[-1]
    effect, row = effects[index], rows[index]
    lead = leads.get(effect["verdict"], UNTOLD).format(margin=effect["margin"])
    answer = f"{lead}: {effect['label']} changes {_found(effect, row)}"
    shown = [effect for effect in effects if not np.isnan(effect["low"])]
    return Answer(question, answer, shown, sparse_sentences(summary))


def sparse_sentences(summary: pd.DataFrame) -> list[str]:
    """Say each radius's verdict in words, from the rows of ``radius_summary.csv``."""
    texts = {
        "better": "more accurate than full attention",
        "worse": "less accurate than full attention",
        "equivalent": "as accurate as full attention within {margin:g} %",
        "not tested": "not tested",
    }
    found = []
    for row in with_percent(summary).to_dict("records"):
        verdict = texts.get(row["verdict_family"], "not shown to differ, nor to be equivalent")
        cut = not np.isnan(row["radius"])
        what = f"at r = {row['radius']:g}" if cut else "where it only hides the future"
        found.append(
            f"Sparse time attention {what}: {verdict.format(margin=100 * row['tost_margin'])}."
            f" MASE changes by {row['change_percent']:+.2f} %"
            f" (95 % interval {row['low_percent']:+.2f} to {row['high_percent']:+.2f} %,"
            f" {row['n_clusters']:g} sources)"
            + (f", at a median of {row['median_speedup']:.2f} times the speed." if cut else ".")
        )
    return found


def soft_answer(verdicts: pd.DataFrame) -> Answer:
    """Answer for soft masks, from the rows of ``soft_verdicts.csv``.

    The effect is that of the mask chosen on early windows and tested on later ones, else of the
    best mean.
    """
    question = (
        "Does it help to let series attend across groups, by how similar they are, instead of"
        " within their group only?"
    )
    of = {row["subject"]: row for row in verdicts.to_dict("records")}
    effects = {
        subject: {
            "label": row["variant"] if subject != "chosen early" else f"{row['variant']}, later",
            **{end: -100 * row[of_gain] for end, of_gain in GAINS.items()},
            **{"margin": 100 * row["tost_margin"], "verdict": row["verdict"]},
            "control": bool(row["is_control"]),
        }
        for subject, row in of.items()
        if not np.isnan(row["gain_low"])
    }
    answer = of["soft masks"]["sentence"].split(". Of ")[0]
    subject = next((name for name in ("chosen early", *effects) if name in effects), None)
    if subject is not None:
        chosen = "chosen on early windows and tested on later ones"
        how = chosen if subject == "chosen early" else "with the best mean"
        effect = _found(effects[subject], of[subject], "clusters")
        answer += f": the mask {how}, {of[subject]['variant']}, changes {effect}"
    details = verdicts.loc[verdicts["subject"] != "validity", "sentence"].tolist()
    return Answer(question, answer.removesuffix(".") + ".", list(effects.values()), details)


# What the ends of an effect are as gains.
GAINS = {"change": "gain", "low": "gain_high", "high": "gain_low"}


def group_answer(value: pd.DataFrame) -> Answer:
    """Answer for group attention, from the rows of ``group_value.csv``."""
    question = (
        "What is group attention worth: an item's targets and covariates together, against each"
        " target alone?"
    )
    leads = {
        BETTER: "It helps",
        WORSE: "It hurts",
        EQUIVALENT: "Nothing: together is as accurate as alone",
    }
    rows = value[(value["metric"] == "MASE") & (value["task"] == ALL) & value["step"].isin(SAID)]
    rows = rows[(rows["kind"] == ALL) | (rows["step"] == next(iter(SAID)))]
    effects = [
        {
            "label": f"{row['variant']} / {row['baseline']}"
            + (f": {row['kind']}" if row["kind"] != ALL else ""),
            **{end: 100 * row[of] for end, of in CHANGES.items()},
            **{"margin": 100 * row["tost_margin"], "verdict": row["verdict"], "control": False},
        }
        for row in rows.dropna(subset=["change_low"]).to_dict("records")
    ]
    whole = rows[rows["kind"] == ALL].dropna(subset=["change_low"])
    if whole.empty:
        return Answer(question, f"{UNTOLD}: too little was tested.", effects, sentences(value))
    row = whole.iloc[0]
    effect = {end: 100 * row[of] for end, of in CHANGES.items()}
    lead = leads.get(row["verdict"], UNTOLD)
    answer = f"{lead}: {row['variant']} against {row['baseline']} changes {_found(effect, row)}"
    return Answer(question, answer, effects, sentences(value))


CHANGES = {"change": "change", "low": "change_low", "high": "change_high"}
