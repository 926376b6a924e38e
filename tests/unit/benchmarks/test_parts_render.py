"""The page tells which part of the training costs something to leave out."""

import json
from pathlib import Path
from typing import Any

from benchmarks.encoder.parts_render import is_beyond_seeds, parts_lines
from benchmarks.encoder.render import PARTS_THEME, RESULTS, render

METRIC = "mrr_csls"


def figure(value: float, *by_seed: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "by_seed": list(by_seed)}


def row(method: str, *by_seed: float) -> dict[str, Any]:
    value = sum(by_seed) / len(by_seed)
    return {"method": method, "metrics": {METRIC: figure(value, *by_seed)}}


def altered(method: str, origin: str, value: float) -> dict[str, Any]:
    lead = {METRIC: figure(value, value - 0.002, value + 0.002)}
    return row(method, 0.5) | {"altered_from": origin, "lead_on_unaltered": lead}


ROWS = [
    row("ours", 0.7, 0.702),
    row("ours.behavior_alone", 0.3, 0.33),
    altered("ours_without_spread", "ours", -0.012),
    altered("ours_without_spread.behavior_alone", "ours.behavior_alone", -0.025),
    altered("ours_without_terms", "ours", 0.009),
    altered("ours_without_terms.behavior_alone", "ours.behavior_alone", -0.04),
]
TASK = {"name": "groups", "counts": {"queries": 1631}, "main_metric": METRIC, "rows": ROWS}
RESULT = {
    "theme": PARTS_THEME,
    "study": "git",
    "preset": "fast",
    "seeds": [0, 1],
    "machine": {"cores": 2, "processor": "CPU"},
    "measured_at": "2026-01-02",
    "commit": "abc",
    "command": "__main__.py --parts",
    "about": {"ours_part": "as told by the parts"},
    "tasks": [TASK],
}


def test_a_part_has_its_difference_in_the_block_alone_and_in_the_whole() -> None:
    lines = list(parts_lines(RESULT))
    alone, whole = (
        lines.index("| Behavior block alone | persons |"),
        lines.index("| Whole vector | persons |"),
    )
    assert lines[alone + 2 : whole - 1] == [
        "| `ours` | .315 [.305, .325] ± .030 |",
        "| `ours_without_spread` | −.025 [−.035, −.015] ± .004 |",
        "| `ours_without_terms` | **−.040 [−.050, −.030] ± .004** |",
    ]
    assert lines[whole + 2 : -1] == [
        "| `ours` | .701 [.691, .711] ± .002 |",
        "| `ours_without_spread` | **−.012 [−.022, −.002] ± .004** |",
        "| `ours_without_terms` | +.009 [−.001, +.019] ± .004 |",
    ]
    assert "Queries: persons 1,631.\n" in lines


def test_a_difference_within_chance_or_within_the_seeds_is_not_beyond() -> None:
    found = {each["method"]: each for each in ROWS}
    beyond = {
        name: is_beyond_seeds(each, found[each["altered_from"]], METRIC)
        for name, each in found.items()
        if "altered_from" in each
    }
    assert beyond == {
        "ours_without_spread": True,
        "ours_without_spread.behavior_alone": False,
        "ours_without_terms": False,
        "ours_without_terms.behavior_alone": True,
    }


def test_one_seed_is_beyond_nothing() -> None:
    far = altered("ours_without_spread", "ours", -0.3)
    assert is_beyond_seeds(far, row("ours", 0.7, 0.7), METRIC)
    assert not is_beyond_seeds(far, row("ours", 0.7), METRIC)


def test_a_study_keeps_the_table_of_all_its_methods(tmp_path: Path) -> None:
    """The later result of the parts takes the place of no other."""
    (whole,) = sorted(RESULTS.glob("encoder_git-identities_amd*.json"))
    study = json.loads(whole.read_text())["study"]
    parts = tmp_path / "encoder_parts.json"
    parts.write_text(json.dumps(RESULT | {"study": study, "measured_at": "2099-01-01"}))
    page = render([whole, parts])
    assert page.startswith(render([whole]).partition("## Methods")[0])
    assert f"## {study}: what the behavior network learns from\n" in page
    assert "- `ours_part`: as told by the parts." in page
