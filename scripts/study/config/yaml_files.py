"""Files of the configuration: strict YAML, and the names that they may give."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, ConfigDict, Field

from chronos2_attention.checking import *  # noqa: F403 what models of these files are made of
from chronos2_attention.checking import Strict, check
from chronos2_attention.errors import InputError, quote

T = TypeVar("T")
LONGEST_FILE = 2_000_000  # bytes; the largest that ships has 26 000
DEEPEST = 40  # lists and mappings in each other, past which the parser would use up its stack
MOST_MERGED = 10_000  # keys that `<<` may bring into one mapping: merges of merges grow fast

# Parts of file names, which the rules take apart again; two of the greatest length fit into one.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
GOOD_NAMES = "use at most 64 letters, digits, '.', '_' and '-', a letter or digit first"
# A repository of the Hugging Face hub.
REPOSITORY = r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
# results/prior_validity.csv is of no suite.
RESERVED = {"prior"}


def _check_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise InputError(f"{quote(name)} is no good name", mend=GOOD_NAMES)
    return name


Name = Annotated[str, Field(strict=True), AfterValidator(_check_name)]


def _check_parts(name: str) -> str:
    return "/".join(map(_check_name, name.split("/")))


# Names of tasks stand in tables alone, and may have parts.
TaskName = Annotated[str, Field(strict=True), AfterValidator(_check_parts)]

_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Base):
    """A safe loader that refuses a key given twice, but for one that overrides a merge (``<<``)."""

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


def _fault(problem: str, node: yaml.Node | yaml.Event) -> yaml.constructor.ConstructorError:
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
    """Read a YAML file; what is wrong with it is an `InputError` that names the line."""
    try:
        with open(path, "rb") as handle:
            content = handle.read(LONGEST_FILE + 1)
    except FileNotFoundError:
        raise InputError("no such file", str(path), "give the path of an existing file") from None
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InputError(reason, str(path), "give the path of a readable file") from None
    if len(content) > LONGEST_FILE:
        reason = f"larger than {LONGEST_FILE} bytes"
        raise InputError(reason, str(path), "give a file of the configuration")
    try:
        text = content.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, _Base):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise _fault(f"more than {DEEPEST} lists and mappings in each other", event)
        return yaml.load(text, Loader=_StrictLoader)  # a subclass of the safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where, what = (f"{path} line {mark.line + 1}", "that line") if mark else (path, "the file")
        problem = getattr(error, "problem", None) or error
        raise InputError(f"not readable as YAML: {problem}", str(where), f"mend {what}") from None


def unknown(kind: str, name: str, known: Sequence[str], where: str) -> InputError:
    """Return the error of a name that is none of those known, of which it says the nearest."""
    near = difflib.get_close_matches(name[:100], known, n=3) if len(known) > 12 else known
    shown = ", ".join(near or known) or "none"
    return InputError(f"unknown {kind} {quote(name)}", where, f"known: {shown}")


class _Unnamed(Strict):
    model_config = ConfigDict(extra="allow")

    name: Literal[None] = None  # the file's own


def load_named(kind: str, name: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Return what the file of a suite or model says, with its name, and the path of the file."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise unknown(kind, name, known, str(folder))
    path = str(folder / f"{name}.yaml")
    if not re.fullmatch(NAME, name) or name in RESERVED:
        raise InputError(f"{kind} {quote(name)} has no good name", path, GOOD_NAMES)
    document = load_yaml(path)
    check(_Unnamed, document, path)
    return {**document, "name": name}, path


def load_checked(model: type[T], path: str | Path, mend: str = "see config/README.md") -> T:
    """Read a YAML file and make a model of it, see `load_yaml` and `check`."""
    return check(model, load_yaml(path), str(path), mend)
