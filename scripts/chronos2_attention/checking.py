"""What users' files hold, checked by pydantic models; what does not fit is said in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from .errors import InputError, quote

__all__ = [
    "Flag",
    "Many",
    "Pair",
    "Some",
    "Strict",
    "Text",
    "Unique",
    "bounds",
    "check",
    "checked_dataclass",
    "matching",
    "number",
    "whole",
]

T = TypeVar("T")

_CONFIG = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Strict(BaseModel):
    """A mapping of a file: no unknown key, no value of another type, no NaN and no infinity."""

    model_config = ConfigDict(**_CONFIG, strict=True)


# A dataclass that `check` can make of a mapping. Its fields must be strict types such as those
# below, since a dataclass that is strict itself takes no mapping.
checked_dataclass = dataclass(config=_CONFIG)


def bounds(least: float | None = None, most: float = 1e9, **more: Any) -> Any:
    """Return what a finite number must be: from `least` to `most`; `more` are gt, lt and such."""
    return Field(strict=True, ge=least, le=most, **more)


def whole(least: int | None = None, most: int = 10**9) -> Any:
    """Return the type of a whole number between two bounds (both included)."""
    return Annotated[int, bounds(least, most)]


def number(least: float | None = None, most: float = 1e9, **more: Any) -> Any:
    """Return the type of a finite number between `bounds`."""
    return Annotated[float, bounds(least, most, allow_inf_nan=False, **more)]


def matching(pattern: str) -> Any:
    """Return the type of a text that matches a regular expression in full."""
    return Annotated[str, Field(strict=True, pattern=rf"^(?:{pattern})$", max_length=1000)]


def _each_once(values: tuple) -> tuple:
    seen = set()
    for value in values:
        if value in seen:
            raise InputError(f"{quote(value)} is given twice", mend="name it once")
        seen.add(value)
    return values


Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True, min_length=1, max_length=20_000)]
# A list of two; of any number; of at least one; of at least one and none twice.
_AS_TUPLE = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
Pair = Annotated[tuple[T, T], _AS_TUPLE]
Many = Annotated[tuple[T, ...], Field(fail_fast=True), _AS_TUPLE]
Some = Annotated[tuple[T, ...], Field(fail_fast=True, min_length=1, max_length=10_000), _AS_TUPLE]
Unique = Annotated[Some[T], AfterValidator(_each_once)]

SHOULD = {
    "mapping": "be a mapping of keys to values",
    "model_type": "be a mapping of keys to values",
    "dict_type": "be a mapping of keys to values",
    "dataclass_type": "be a mapping of keys to values",
    **dict.fromkeys(("tuple_type", "list_type"), "be a list"),
    **dict.fromkeys(("too_short", "string_too_short"), "not be empty"),
    "string_type": "be text (between quotes if it looks like a number or a date)",
    "int_type": "be a whole number",
    "float_type": "be a number",
    "bool_type": "be true or false",
    "invalid_key": "be text, as every key",
    "greater_than_equal": "be at least {ge}",
    "less_than_equal": "be at most {le}",
    "greater_than": "be more than {gt}",
    "less_than": "be less than {lt}",
    "too_long": "have at most {max_length} items",
}


def check(model: type[T], document: Any, where: str, mend: str = "see config/README.md") -> T:
    """Make a `Strict` class, or any type that pydantic knows, of what YAML or JSON held.

    Where it does not fit, an `InputError` names the place and the key, and advises `mend`.
    """
    try:
        return _adapter(model).validate_python(document)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    what, own_mend = _say(faults, document)
    raise InputError(what, where, own_mend or mend)


_adapter: Callable[[Any], TypeAdapter] = cache(TypeAdapter)


def _say(faults: Sequence[ErrorDetails], document: Any) -> tuple[str, str]:
    """Say the first fault, of a union the deepest, and its mend if it has one of its own."""
    paths = [_path(fault["loc"], document) for fault in faults]
    path = max((path for path in paths if path.startswith(paths[0])), key=len)
    same = [fault for fault, other in zip(faults, paths, strict=True) if other == path]
    kind, steps = same[0]["type"], same[0]["loc"]
    last = quote(steps[-1]) if steps else ""
    unknown = kind in ("extra_forbidden", "unexpected_keyword_argument")
    place = _path(steps[:-1], document) if unknown else path
    place = f"{place}: " if place else ""
    cause = same[0].get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return place + cause.what, cause.mend
    if cause is not None:
        return f"{place}{cause}", ""
    if unknown:
        return f"{place}unknown key {last}", ""
    if kind in ("missing", "missing_argument"):
        return f"{place}key {last} is missing", ""
    wishes = dict.fromkeys(map(_wish, same))
    key = "the key " if steps[-1:] == ("[key]",) else ""
    return f"{place}{key}{quote(same[0]['input'])} should {' or '.join(wishes)}", ""


def _wish(fault: ErrorDetails) -> str:
    if fault["type"] in SHOULD:
        return SHOULD[fault["type"]].format(**fault.get("ctx", {}))
    return fault["msg"].partition(" should ")[2]


def _path(steps: tuple[int | str, ...], document: Any) -> str:
    """Spell the place of a fault, ``tasks[0].horizon``; names of union members are left out."""
    path = ""
    for step in steps:
        if isinstance(document, Mapping) and step in document:
            path += f".{step}"
        elif isinstance(document, list | tuple) and step in range(len(document)):
            path += f"[{step}]"
        else:
            continue
        document = document[step]
    return path.lstrip(".")
