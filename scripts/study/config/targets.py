"""Names of result files: what a requested file asks for, checked before anything runs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path

from chronos2_attention import AttentionVariant, InputError
from chronos2_attention.errors import quote
from chronos2_attention.variants.soft import MEASURES
from study.config.datasets import find_spec, load_registry
from study.config.models import load_model_spec
from study.config.study import load_study
from study.config.suites import known_suites

# A wildcard of a rule's output, `{name}` or `{name,regular expression}`.
WILDCARD = re.compile(r"\{(\w+)(?:,((?:[^{}]|\{[^{}]*\})*))?\}")
LONGEST_NAME = 200  # of the 255 bytes that a file system takes; logs add to a result's name


class TargetCheck:
    """Says which word of a requested file's name is unknown; `outputs` are those of all rules."""

    def __init__(
        self, outputs: Iterable[str], config_dir: Path, only: str | list[str] | None
    ) -> None:
        self.outputs = sorted(set(outputs), key=lambda output: -len(WILDCARD.sub("", output)))
        self.regexes = [
            re.compile(_regex(output, lambda _, constraint: constraint or ".+"))
            for output in self.outputs
        ]
        self.config_dir, self.only = config_dir, only
        self._sound: set[str] = set()

    @cached_property
    def registry(self) -> dict:
        return load_registry(self.config_dir / "datasets.yaml")

    def study(self, name: str) -> None:
        """Check that a study can be loaded and that its data sets are registered."""
        if name in self._sound:
            return
        for dataset in load_study(name, self.config_dir, self.only).suite.datasets:
            find_spec(self.registry, dataset)
        self._sound.add(name)

    def file(self, target: str, is_target: Callable[[], bool] = lambda: True) -> bool:
        """Check one file; return whether it is a target, which is asked where no rule makes it."""
        name = target.removeprefix("./")
        if ".." in name.split("/"):
            raise InputError("a name of a result holds '..'", target, "name a file in results/")
        if max(map(len, name.encode().split(b"/"))) > LONGEST_NAME:
            reason = f"name of more than {LONGEST_NAME} characters"
            raise InputError(reason, target, "name a file of a study")
        faults = []
        for wildcards in self._made_by(name):
            try:
                self._words(wildcards)
                return True
            except InputError as error:
                faults.append(error)
        if faults:
            raise faults[0]
        if not is_target():
            return False
        for wildcards in self._almost_made_by(name):
            self._words(wildcards)
        raise InputError("no rule makes this result", target, self._nearest(name))

    def _made_by(self, name: str) -> Iterator[dict[str, str]]:
        for found in filter(None, (regex.fullmatch(name) for regex in self.regexes)):
            yield found.groupdict()

    def _almost_made_by(self, name: str) -> Iterator[dict[str, str]]:
        """Read a name without the wildcards' constraints, with a known suite if there is one."""
        known = "|".join(sorted(map(re.escape, known_suites(self.config_dir)), reverse=True))
        for study in (rf"(?:{known})(?:@[^/_]*)?", "[^/]+?"):
            loose = {"study": study, "scatteritem": "[^/_]*", "measure": "[^/_-]*"}
            for output in self.outputs:
                regex = _regex(output, lambda word, _, loose=loose: loose.get(word, "[^/]*?"))
                if found := re.fullmatch(regex, name):
                    yield found.groupdict()

    def _words(self, wildcards: dict[str, str]) -> None:
        parse, measure = AttentionVariant.parse, wildcards.get("measure", MEASURES[0])
        checks = {
            "study": self.study,
            "dataset": lambda word: find_spec(self.registry, word),
            "model": lambda word: load_model_spec(word, self.config_dir),
            "measure": _check_measure,
            "temperature": lambda word: parse(f"soft_{measure}_t{word}"),
            "r": lambda word: parse(f"sparse_r{word}"),
            "soft": lambda word: parse(f"soft_{word}"),
            "variant": parse,
            "method": lambda word: word == "seasonal_naive" or parse(word),
        }
        for wildcard, word in wildcards.items():
            if wildcard in checks:
                checks[wildcard](word)

    def _nearest(self, name: str) -> str:
        suites = [suite for suite in known_suites(self.config_dir) if f"/{suite}" in name]
        study = re.search(rf"/({'|'.join(suites)})(@[^/_]*)?", name) if suites else None
        shown = {"study": study[0][1:] if study else "demo"}
        told = partial(WILDCARD.sub, lambda found: shown.get(found[1], f"{{{found[1]}}}"))
        outputs = list(map(told, self.outputs))
        near = difflib.get_close_matches(name, outputs, n=2, cutoff=0.7)
        return f"the nearest are {' and '.join(near)}" if near else "see README.md for the results"


def _regex(output: str, pattern: Callable[[str, str | None], str]) -> str:
    """Return the regular expression of a rule's output, given the pattern of each wildcard."""
    parts, seen, end = [], set(), 0
    for found in WILDCARD.finditer(output):
        word, constraint = found.groups()
        parts.append(re.escape(output[end : found.start()]))
        parts.append(f"(?P={word})" if word in seen else f"(?P<{word}>{pattern(word, constraint)})")
        seen.add(word)
        end = found.end()
    return "".join(parts) + re.escape(output[end:])


def _check_measure(word: str) -> None:
    if word not in MEASURES:
        raise InputError(f"unknown similarity {quote(word)}", "", f"use {', '.join(MEASURES)}")
