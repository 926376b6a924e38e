import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compact import WIDTH, compact

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def test_a_row_of_figures_is_a_line() -> None:
    rows = np.random.default_rng(0).random((3, 40)).tolist()
    text = compact({"name": "curve", "rows": rows, "empty": [], "more": {"a": {"b": [1, 2]}}})
    assert json.loads(text)["rows"] == rows
    lines = text.splitlines()
    assert lines[1:4] == [' "name": "curve",', ' "rows": [', f"  {json.dumps(rows[0])},"]
    assert lines[-3:] == [' "empty": [],', ' "more": {"a": {"b": [1, 2]}}', "}"]


def test_numbers_of_numpy_and_tuples_are_written_as_they_are() -> None:
    wide = {f"figure {place}": np.float32(0.5) for place in range(30)}
    text = compact({"pair": (1, np.float64(0.1)), "wide": wide, "none": None})
    assert json.loads(text) == {
        "pair": [1, 0.1],
        "wide": dict.fromkeys(wide, 0.5),
        "none": None,
    }
    assert all(len(line) <= WIDTH for line in text.splitlines())


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_results_are_written_in_this_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert compact(json.loads(text)) == text, f"run python -m benchmarks.compact {path}"
