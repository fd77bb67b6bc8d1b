"""The workflow's settings, as the configuration file and the command line give them."""

from __future__ import annotations

import re
from typing import Any

from study.config_files import check_document


def settle(config: dict[str, Any]) -> None:
    """Bring settings to the types of their schema where the command line could not, and check them.

    Snakemake reads the items of a list given with ``--config`` as text (``radii=[4,8]``), and one
    word is not a list (``run=cbii``).

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
    if isinstance(config.get("radii"), list):
        config["radii"] = [
            int(radius) if re.fullmatch(r"-?\d+", str(radius)) else radius
            for radius in config["radii"]
        ]
    check_document(config, "config", "the configuration (config/config.yaml and --config)")
