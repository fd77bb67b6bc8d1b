"""Files of the configuration: strict YAML, and the names that they may give."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, Field

from chronos2_attention.checking import *  # noqa: F403 what models of these files are made of
from chronos2_attention.checking import check
from chronos2_attention.errors import InputError, quote

T = TypeVar("T")

LONGEST_FILE = 2_000_000  # bytes; the largest that ships has 26 000
DEEPEST = 40  # lists and mappings in each other, past which the parser would use up its stack
MOST_MERGED = 10_000  # keys that `<<` may bring into one mapping: merges of merges grow fast

# What suites, models, tasks and data sets may be called: their names become parts of file names,
# which the rules take apart again. Two names of the greatest length fit into one.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
GOOD_NAMES = "use at most 64 letters, digits, '.', '_' and '-', a letter or digit first"
# A repository of the Hugging Face hub.
REPOSITORY = r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
# results/prior_validity.csv is of no suite.
RESERVED = {"prior"}


def check_name(name: str) -> str:
    """Return the name of a suite, model, task or data set, if files can bear it without doubt."""
    if not re.fullmatch(NAME, name):
        raise InputError(f"{quote(name)} is no good name", mend=GOOD_NAMES)
    return name


Name = Annotated[str, Field(strict=True), AfterValidator(check_name)]
# --- YAML ---------------------------------------------------------------------------------------

_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Base):
    """A safe loader that refuses a key given twice, where YAML would drop the first silently.

    A key beside a merge (``<<: *anchor``) overrides the merged one, as YAML has it.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            raise _fault(f"{quote(node.value)} cannot be read as {kind}", node) from None

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_MERGED:
            raise _fault(f"more than {MOST_MERGED} keys are merged", node)


def _fault(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


def _mapping_without_duplicates(loader: _StrictLoader, node: yaml.MappingNode) -> dict:
    if not isinstance(node, yaml.MappingNode):
        raise _fault("a mapping of keys to values is expected", node)
    # Keys as written: what `<<` brings in may be given again, which is what it is for.
    written = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise _fault("a key is a list or a mapping", key_node)
        key = loader.construct_object(key_node, deep=True)
        if key in written:
            raise _fault(f"key {quote(key)} is given twice", key_node)
        written.add(key)
    loader.flatten_mapping(node)  # merged keys first, so that written ones win
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_StrictLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates
)


def load_yaml(path: str | Path) -> Any:
    """Read a YAML file.

    Raises
    ------
    InputError
        If the file is absent, too large or no YAML, or gives a key twice: the message names the
        file and the line.
    """
    path = Path(path)
    try:
        with open(path, "rb") as handle:
            content = handle.read(LONGEST_FILE + 1)
    except FileNotFoundError:
        raise InputError("no such file", str(path), "give the path of an existing file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot be read: {reason}", str(path), "give the path of a readable file"
        ) from None
    if len(content) > LONGEST_FILE:
        raise InputError(
            f"larger than {LONGEST_FILE} bytes", str(path), "give a file of the configuration"
        )
    try:
        text = content.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, _Base):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise yaml.constructor.ConstructorError(
                    problem=f"more than {DEEPEST} lists and mappings in each other",
                    problem_mark=event.start_mark,
                )
        return yaml.load(text, Loader=_StrictLoader)  # a subclass of the safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(
            f"not readable as YAML: {problem}",
            f"{path}{line}",
            f"mend {'that line' if mark else 'the file'}",
        ) from None


def find_named(kind: str, name: str, folder: Path) -> Path:
    """Return the file of a suite or model; InputError if there is none or no rule can name it."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        near = difflib.get_close_matches(name[:100], known, n=3) if len(known) > 12 else known
        shown = ", ".join(near or known) or "none"
        raise InputError(f"unknown {kind} {quote(name)}", str(folder), f"known: {shown}")
    path = folder / f"{name}.yaml"
    if not re.fullmatch(NAME, name) or name in RESERVED:
        raise InputError(f"{kind} {quote(name)} has no good name", str(path), GOOD_NAMES)
    return path


def load_checked(model: type[T], path: str | Path, mend: str = "see config/README.md") -> T:
    """Read a YAML file and make a model of it, see `load_yaml` and `check`."""
    return check(model, load_yaml(path), str(path), mend)
