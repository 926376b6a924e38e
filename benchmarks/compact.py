"""Result files as JSON that a person can read and compare: a row of figures is a line.

`python -m benchmarks.compact FILE...` rewrites files in this form.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WIDTH = 100


def compact(value: Any) -> str:
    """Return the JSON of a result, with a line break at its end.

    A list of numbers or strings is one line however long it is, so is whatever fits in `WIDTH`
    columns; all else has an element a line. Floats have all their digits; NumPy's are floats.
    """
    return _written(value, 0) + "\n"


def _written(value: Any, depth: int) -> str:
    line = json.dumps(value, default=float)
    if not _is_nested(value) or depth + len(line) <= WIDTH:
        return line
    pad = " " * (depth + 1)
    if isinstance(value, Mapping):
        items = [
            f"{pad}{json.dumps(str(key))}: {_written(item, depth + 1)}"
            for key, item in value.items()
        ]
        return "{\n" + ",\n".join(items) + f"\n{' ' * depth}}}"
    items = [pad + _written(item, depth + 1) for item in value]
    return "[\n" + ",\n".join(items) + f"\n{' ' * depth}]"


def _is_nested(value: Any) -> bool:
    """Tell whether a value is more than a row: an object, or a list with a list or object in it."""
    if isinstance(value, Mapping):
        return True
    return _is_list(value) and any(isinstance(item, Mapping) or _is_list(item) for item in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def main() -> None:
    """Rewrite the files named on the command line."""
    for path in map(Path, sys.argv[1:]):
        path.write_text(compact(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
