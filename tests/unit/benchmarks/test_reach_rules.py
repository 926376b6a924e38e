"""The benchmark of rules for probing: the rules differ, and the figures are what they say."""

import pytest

from benchmarks.reach import PROBES, measure
from index import ivf


def test_the_rules_trade_lists_for_neighbors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ivf.LIST_SIZE_MIN, "ivf_rabitq", 8)
    rows = {row["rule"]: row for row in measure(4_000, 300, 12, seed=1)}
    fixed = [rows[f"{probes} lists"] for probes in (PROBES[0], 12)]
    assert [row["probes_mean"] for row in fixed] == [PROBES[0], 12]
    assert fixed[0]["recall_at_100"] <= fixed[1]["recall_at_100"]
    for family in ("ratio", "gap", "both"):
        found = [row for name, row in rows.items() if name.startswith(family)]
        probes = [row["probes_mean"] for row in found]
        assert probes == sorted(probes)
        assert 1 <= probes[0] < probes[-1] <= 12
        assert found[0]["recall_at_100"] < found[-1]["recall_at_100"] <= 1
        assert found[-1]["recall_at_100"] > fixed[1]["recall_at_100"] - 0.05
