"""The files of a simulated platform: complete, repeatable, bounded by the chunk."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from jobs.simulator.__main__ import main
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import make_chunk, simulate

SMALL = SimulatorConfig(num_users=600, users_per_chunk=250, seed=5)
FILES = ("events.parquet", "labels.csv", "ground_truth.parquet")


def read_labels(file: Path) -> pa.Table:
    times = dict.fromkeys(("occurred_at", "known_at", "revoked_at"), pa.timestamp("s", tz="UTC"))
    options = pa_csv.ConvertOptions(column_types=times, strings_can_be_null=True)
    return pa_csv.read_csv(file, convert_options=options)


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        simulate(SMALL, tmp_path / name)
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_another_seed_gives_another_platform(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path / "one")
    simulate(SMALL.model_copy(update={"seed": 6}), tmp_path / "two")
    assert not pq.read_table(tmp_path / "one" / FILES[0]).equals(
        pq.read_table(tmp_path / "two" / FILES[0])
    )


def test_report_counts_what_is_in_the_files(tmp_path: Path) -> None:
    report = simulate(SMALL, tmp_path)
    events = pq.read_table(report.events_file)
    truth = pq.read_table(report.truth_file)
    assert report.num_users == truth.num_rows == 600
    assert report.num_events == events.num_rows
    assert report.num_labels == read_labels(Path(report.labels_file)).num_rows
    assert report.num_evaders == truth.num_rows - truth["evader_of"].null_count > 0


def test_events_have_the_required_columns_as_plain_strings_and_utc_times(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path)
    schema = pq.read_schema(tmp_path / "events.parquet")
    assert schema.names[:3] == ["user_id", "ts", "event_type"]
    assert schema.field("user_id").type == schema.field("place").type == pa.string()
    assert str(schema.field("ts").type.tz) == "UTC"


def test_users_of_all_chunks_are_distinct_and_every_user_has_an_event(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path)
    truth = pq.read_table(tmp_path / "ground_truth.parquet")["user_id"]
    events = pq.read_table(tmp_path / "events.parquet")["user_id"]
    assert pc.count_distinct(truth).as_py() == 600
    assert set(events.unique().to_pylist()) == set(truth.to_pylist())


def test_progress_ends_with_all_users(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    simulate(SMALL, tmp_path, progress=lambda what, done, total: seen.append((what, done, total)))
    assert [done for _, done, _ in seen] == [250, 500, 600]
    assert seen[-1][1:] == (600, 600)


def test_mean_number_of_events_is_near_the_configured_one() -> None:
    config = SimulatorConfig(num_users=4000, events_per_user=50)
    chunk = make_chunk(config, 0)
    assert chunk.events.num_rows / 4000 == pytest.approx(50, rel=0.15)


def test_place_popularity_is_heavy_tailed() -> None:
    chunk = make_chunk(SimulatorConfig(num_users=2000), 0)
    places = chunk.events["place"].combine_chunks().indices.to_numpy()
    visits = np.sort(np.bincount(places))[::-1]
    assert visits[: len(visits) // 100 + 1].sum() > 0.08 * visits.sum()
    assert np.median(visits) < 0.6 * visits.mean()
    assert visits[0] > 8 * visits.mean()


def test_module_writes_the_three_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(out=tmp_path / "new", users=200, seed=1)
    assert all((tmp_path / "new" / name).is_file() for name in FILES)
    assert '"num_users": 200' in capsys.readouterr().out
