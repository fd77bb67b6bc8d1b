"""The workflow's settings, as the configuration file and the command line give them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from study.config.suites import EVERY_TASK
from study.config.yaml_files import check_document


def complete(config: dict[str, Any], defaults: Path) -> None:
    """Add what is missing from the default settings.

    Another workflow that uses this one as a module need then give only what it wants otherwise.

    Parameters
    ----------
    config:
        Snakemake's `config`; changed in place.
    defaults:
        The configuration file.
    """
    _add_missing(config, yaml.safe_load(defaults.read_text(encoding="utf-8")))


def _add_missing(config: dict[str, Any], defaults: dict[str, Any]) -> None:
    for key, value in defaults.items():
        if key not in config:
            config[key] = value
        elif isinstance(value, dict) and isinstance(config[key], dict):
            _add_missing(config[key], value)


def settle(config: dict[str, Any]) -> None:
    """Bring settings to the types of their schema where the command line could not, and check them.

    Snakemake reads what lists and mappings given with ``--config`` hold as text (``radii=[4,8]``),
    and one word is not a list (``run=cbii``). The number of windows becomes part of ``only``, see
    `study.suites.Suite.only`, so that it reaches whatever reads a suite.

    Parameters
    ----------
    config:
        Snakemake's `config`; changed in place.

    Raises
    ------
    InputError
        If a key is unknown or missing, or a value is of the wrong type or range.
    """
    if isinstance(config.get("run"), str):
        config["run"] = config["run"].split(",")
    if isinstance(config.get("radii"), str | int):
        config["radii"] = str(config["radii"]).split(",")
    for key, value in config.items():
        if isinstance(value, list | dict):
            config[key] = _typed(value)
    check_document(config, "config", "the configuration (config/config.yaml and --config)")
    if config["num_windows"] is not None:
        only = config["only"] or []
        words = only.split(",") if isinstance(only, str) else list(only)
        config["only"] = [*words, f"{EVERY_TASK}:{config['num_windows']}"]


def _typed(value: Any) -> Any:
    """Read numbers, truth values and null inside a list or mapping from their text."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if isinstance(value, str) and re.fullmatch(r"[-+.\deE]+|true|false|null", value):
        return yaml.safe_load(value)
    return value
