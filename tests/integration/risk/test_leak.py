"""What is learned of later, or happened after a ban, changes no byte of model, vectors or risk."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from embedder.model_files import WEIGHTS
from tests.integration.risk.platform import (
    AS_OF,
    Outcome,
    Records,
    make_workspace,
    train_and_fit,
)


def later_labels(records: Records) -> pa.Table:
    """Return what was known, and labels of everybody known after T, drawn by lot."""
    known, rng = records.known().labels, np.random.default_rng(0)
    users = pc.unique(records.events["user_id"]).cast(pa.string())
    drawn = rng.integers(0, 2, len(users))
    when = [AS_OF + timedelta(hours=float(hours)) for hours in rng.uniform(0, 500, len(users))]
    before = [AS_OF - timedelta(hours=float(hours)) for hours in rng.uniform(0, 900, len(users))]
    lots = pa.table(
        {
            "user_id": users,
            "label": pa.array(drawn, known.schema.field("label").type),
            "policy": pa.array([f"invented {lot}" if lot else None for lot in drawn], pa.string()),
            "occurred_at": pa.array(before, pa.timestamp("us", "UTC")),
            "known_at": pa.array(when, pa.timestamp("us", "UTC")),
        }
    )
    return pa.concat_tables([known, lots], promote_options="permissive")


def later_events(records: Records) -> list[pa.Table]:
    """Return what happened after T, and what the banned did after their bans, with new columns."""
    events, labels = records.events, records.known().labels
    after = events.filter(pc.greater_equal(events["ts"], AS_OF))
    banned = labels.filter(pc.equal(labels["label"], 1))
    haunting = pa.table(
        {
            "user_id": banned["user_id"],
            "ts": banned["occurred_at"],
            "event_type": pa.array(["haunt"] * banned.num_rows),
            "only_after": pa.array(range(banned.num_rows)),
        }
    )
    strangers = pa.table(
        {
            "user_id": pa.array([f"stranger {place}" for place in range(30)] * 3),
            "ts": pa.array([AS_OF] * 90, pa.timestamp("us", "UTC")),
            "event_type": pa.array(["arrive"] * 90),
        }
    )
    return [after, haunting, strangers]


@pytest.fixture(scope="module")
def with_future(records: Records, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    all_there_is = Records(records.known().events, later_labels(records))
    more = later_events(records)
    assert min(table.num_rows for table in more) > 20
    return train_and_fit(make_workspace(tmp_path_factory.mktemp("future"), all_there_is, *more))


def test_the_same_model_is_learned(outcome: Outcome, with_future: Outcome) -> None:
    assert outcome.report.space_id == with_future.report.space_id
    first, second = (
        (one.report.model_dir / WEIGHTS).read_bytes() for one in (outcome, with_future)
    )
    assert first == second
    told = [
        {key: value for key, value in one.report.manifest.items() if key not in TIMES}
        for one in (outcome, with_future)
    ]
    assert told[0] == told[1]
    assert "conduct" in {block.name for block in outcome.embedder.blocks}


TIMES = ("created_at", "seconds")


def test_everybody_gets_the_same_vector(outcome: Outcome, with_future: Outcome) -> None:
    assert outcome.user_ids == with_future.user_ids
    assert outcome.num_events.tolist() == with_future.num_events.tolist()
    assert outcome.vectors.tobytes() == with_future.vectors.tobytes()


def test_the_same_risk_is_fitted_and_told(
    outcome: Outcome, with_future: Outcome, tmp_path: Path
) -> None:
    files = []
    for name, one in (("known", outcome), ("future", with_future)):
        one.risk.save(tmp_path / name)
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    told = [
        one.risk.assess(one.vectors, one.num_events, own_ids=one.user_ids)
        for one in (outcome, with_future)
    ]
    for name in ("probability", "low", "high", "log_odds", "features_QF"):
        assert getattr(told[0], name).tobytes() == getattr(told[1], name).tobytes(), name
    assert told[0].band == told[1].band


def test_what_was_known_does_change_the_model(
    outcome: Outcome, records: Records, tmp_path: Path
) -> None:
    """Or the equality above would say nothing."""
    known = records.known()
    fewer = Records(known.events.slice(0, known.events.num_rows - 40), known.labels)
    other = train_and_fit(make_workspace(tmp_path, fewer))
    assert other.report.space_id != outcome.report.space_id
