"""The one error type that a user can mend by changing an input."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# What a user gave may be a hundred megabytes. So much is shown of what stands between quotes or
# brackets, of a word (often a path), and of each part of a message; together at most 300 characters
# of a value and of the path that it is from.
LONGEST_QUOTE, LONGEST_WORD = 100, 200
LONGEST = {"what": 600, "where": 200, "mend": 600}
QUOTED = re.compile(r"""(['"]).*?\1(?![^\s.,;:)\]}])""")
LISTED = re.compile(r"\[.*\]|\{.*\}")


class InputError(ValueError):
    """Something the user gave (a name, a file, a setting) cannot be used.

    The message is one line in three parts: what is wrong, where, and how to
    mend it. Scripts print it as it is, without a traceback, and exit with
    status 1. Long parts are cut in their middle, and characters that cannot be
    printed are escaped.

    Parameters
    ----------
    what:
        What is wrong, for example ``"unknown suite 'foo'"``.
    where:
        The file, key or name at fault.
    mend:
        What the user can do about it.
    """

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = (
            _line(part, LONGEST[name])
            for name, part in {"what": what, "where": where, "mend": mend}.items()
        )
        parts = [self.what, f"in {self.where}" if self.where else "", self.mend]
        super().__init__("; ".join(part for part in parts if part))


@contextmanager
def explained(
    what: str,
    where: object,
    mend: str = "fetch it again",
    errors: type[Exception] | tuple[type[Exception], ...] = Exception,
) -> Iterator[None]:
    """Turn errors that a user's file makes others raise into an `InputError` that quotes them."""
    try:
        yield
    except errors as error:
        raise InputError(f"{what} ({_line(str(error), LONGEST_WORD)})", str(where), mend) from error


def quote(value: object) -> str:
    """Return what a message shows of a user's value: its `repr`, at most some 80 characters."""
    return _BRIEF.repr(value)


def _line(text: str, most: int) -> str:
    words = " ".join(_cut(word, LONGEST_WORD) for word in _cut(text, 8 * most).split())
    for pattern in (QUOTED, LISTED):
        words = pattern.sub(lambda found: _cut(found[0], LONGEST_QUOTE), words)
    return _cut(_printable(words), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = (most - 3) // 2
    return f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return re.sub(
        r"[^ ]", lambda found: found[0] if found[0].isprintable() else ascii(found[0])[1:-1], text
    )


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 4
        self.maxstring = self.maxother = self.maxlong = 60

    def repr(self, x: object) -> str:
        return _cut(super().repr(x), 80)

    def repr1(self, x: object, level: int) -> str:
        # Subclasses, such as the mappings of Snakemake, are no less large.
        shows: dict[type, Callable[[Any, int], str]] = {Mapping: self.repr_dict}
        shows |= {str: self.repr_str, list: self.repr_list, tuple: self.repr_tuple}
        for kind, show in shows.items():
            if isinstance(x, kind):
                return show(x, level)
        if isinstance(x, int) and x.bit_length() > 4000:
            return f"<an integer of {x.bit_length()} bits>"
        if isinstance(x, bytes | bytearray):
            x = bytes(x[: self.maxother])
        return super().repr1(x, level)


_BRIEF = _Brief()
