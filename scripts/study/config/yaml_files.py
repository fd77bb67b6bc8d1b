"""YAML files that are checked against a JSON schema before anything reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from chronos2_attention.errors import InputError

SCHEMA_DIR = Path(__file__).resolve().parents[3] / "workflow" / "schemas"

_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Base):
    """A safe loader that refuses a key given twice, where YAML would drop the first silently.

    A key beside a merge (``<<: *anchor``) overrides the merged one, as YAML has it.
    """


def _mapping_without_duplicates(loader: _StrictLoader, node: yaml.MappingNode) -> dict:
    # Keys as written: what `<<` brings in may be given again, which is what it is for.
    written = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if key in written:
            raise yaml.constructor.ConstructorError(
                problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
            )
        written.add(key)
    loader.flatten_mapping(node)  # merged keys first, so that written ones win
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_StrictLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates
)


def load_checked_yaml(path: str | Path, schema: str, schema_dir: Path = SCHEMA_DIR) -> Any:
    """Read a YAML file and check it against one of the workflow's schemas.

    Parameters
    ----------
    path:
        The YAML file.
    schema:
        Name of the schema, ``"datasets"`` for ``datasets.schema.yaml``.
    schema_dir:
        Directory of the schemas.

    Returns
    -------
    The parsed document.

    Raises
    ------
    InputError
        If the file is absent, is no YAML, or does not fit: the message names
        the file and the key.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as handle:
            document = yaml.load(handle, Loader=_StrictLoader)  # a subclass of the safe loader
    except FileNotFoundError:
        raise InputError("no such file", str(path), "give the path of an existing file") from None
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", str(path), "give the path of a readable file"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(
            f"not readable as YAML: {problem}",
            f"{path}{line}",
            f"mend {'that line' if mark else 'the file'}",
        ) from None

    check_document(document, schema, str(path), schema_dir)
    return document


def check_document(document: Any, schema: str, where: str, schema_dir: Path = SCHEMA_DIR) -> None:
    """Check a document that has been read against one of the workflow's schemas.

    Parameters
    ----------
    document:
        Anything that YAML can hold.
    schema, schema_dir:
        See `load_checked_yaml`.
    where:
        What the message names as the place of a fault.

    Raises
    ------
    InputError
        If the document does not fit: the message names the key.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    with open(schema_dir / f"{schema}.schema.yaml", encoding="utf-8") as handle:
        rules = yaml.load(handle, Loader=_Base)
    worst = best_match(Draft202012Validator(rules).iter_errors(document))
    if worst is not None:
        key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in worst.absolute_path)
        text = worst.message if len(worst.message) < 200 else worst.message[:197] + "..."
        raise InputError(
            f"{key.lstrip('.') or 'the document'}: {text}",
            where,
            f"see workflow/schemas/{schema}.schema.yaml",
        )
