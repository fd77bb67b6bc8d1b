"""What tests saw, kind by kind; `conftest` prints it as one table at the end of a run."""

from __future__ import annotations

ROWS: dict[str, dict[str, str]] = {}


def seen(kind: str, tried: str, result: object) -> None:
    """Add a row: the kind of fault, the input that was tried, and what came of it."""
    ROWS.setdefault(kind, {})[tried] = " ".join(str(result).split())


def lines() -> list[str]:
    """Return the table: a heading a kind, a line an input."""
    found = []
    for kind, rows in ROWS.items():
        found.append(f"{kind}: {len(rows)} inputs")
        found += [f"    {tried[:60]:<60}  {result[:160]}" for tried, result in rows.items()]
    return found
