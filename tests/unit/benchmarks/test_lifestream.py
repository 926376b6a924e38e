"""What the authors' CoLES is given, against slow formulas; and what is said where it is missing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.encoder.lifestream import (
    call,
    code_sizes,
    field_codes,
    fields_of,
    log_gaps,
    write_events,
)
from embedder.config import FeaturizerConfig
from embedder.featurizer import ALWAYS, EncodedEvents, Featurizer, fit_featurizer
from jobs.errors import BenchmarkFailed
from tests.unit.embedder.people import DAY_US, HOUR_US, SCHEMA, batch_of, make_people

PEOPLE = make_people(60, 1, mean_events=9)
FEATURIZER = fit_featurizer(PEOPLE, SCHEMA, FeaturizerConfig(hash_buckets=64))
EVENTS = FEATURIZER.encode(PEOPLE, counted_before_us=ALWAYS)
CODES = field_codes(FEATURIZER, EVENTS)
NAMES = [entry.name for entry in fields_of(FEATURIZER)]


def codes_of(name: str, codes: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> list[int]:
    found: list[int] = codes[:, NAMES.index(name)].tolist()
    return found


def encoded(
    pages: list[str | None], hours: list[float], sizes: list[float | None]
) -> tuple[Featurizer, EncodedEvents]:
    """Return two users, the first with all events but the last."""
    count = len(pages)
    batch = batch_of(
        {"a": count - 1, "b": 1},
        [int(hour * HOUR_US) + DAY_US for hour in hours],
        {
            "agent": ["web"] * (count - 1) + ["never seen"],
            "event_type": ["say"] * count,
            "page": pages,
            "size": sizes,
        },
    )
    return FEATURIZER, FEATURIZER.encode(batch)


def test_every_field_is_a_column_within_its_size() -> None:
    sizes = code_sizes(FEATURIZER)
    assert CODES.shape == (len(PEOPLE.ts_us), len(sizes))
    assert {"agent", "event_type", "size", "hour", "weekday", "gap", "relation"} <= set(NAMES)
    assert "position" not in NAMES
    assert (CODES.max(axis=0) < sizes).all()
    assert (CODES[:, : len(NAMES)] > 0).all(), "0 is padding"


def test_categories_keep_their_values_apart() -> None:
    agents, codes = PEOPLE.events["agent"].to_pylist(), codes_of("agent", CODES)
    assert len(set(zip(agents, codes, strict=True))) == len(set(agents)) == len(set(codes))


def test_the_hour_is_the_nearest_one() -> None:
    hour = (PEOPLE.ts_us % DAY_US) / HOUR_US
    wanted = np.floor(hour + 0.5).astype(int) % 24 + 1
    halfway = np.abs(hour % 1 - 0.5) < 1e-6
    assert (np.array(codes_of("hour", CODES)) == wanted)[~halfway].all()


def test_relations_are_told_of_the_whole_sequence() -> None:
    featurizer, events = encoded(
        ["p", "q", "p", "p", None, "p"], [0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]
    )
    codes = field_codes(featurizer, events)
    no_target, new, seen, same = 1, 2, 3, 4
    assert codes_of("relation", codes) == [new, new, seen, same, no_target, new]


def test_missing_values_have_codes_of_their_own() -> None:
    featurizer, events = encoded(["p", None, "p"], [0, 1, 2], [100.0, None, 100.0])
    codes = field_codes(featurizer, events)
    hashed = codes[:, len(NAMES) :]
    assert codes_of("size", codes)[1] == 1 != codes_of("size", codes)[0]
    assert (hashed[1] == 0).all()
    assert (hashed[[0, 2]] > 0).all()
    assert (hashed[0] == hashed[2]).all()
    assert codes_of("agent", codes)[2] == 2, "a value that was never learned"


def test_gaps_are_of_the_user_and_nothing_at_the_first_event() -> None:
    _, events = encoded(["p"] * 4, [0, 1, 1 + 8 / 3600, 9], [1.0] * 4)
    assert log_gaps(events).tolist() == pytest.approx([0, np.log2(3600), 3, 0])


def test_the_folder_has_what_was_encoded(tmp_path: Path) -> None:
    write_events(tmp_path / "asked", FEATURIZER, EVENTS)
    read = {path.stem: np.load(path, allow_pickle=False) for path in (tmp_path / "asked").iterdir()}
    assert set(read) == {"codes", "gap", "offsets"}
    assert np.array_equal(read["codes"], CODES)
    assert read["gap"].dtype == np.float32
    assert np.array_equal(read["offsets"], PEOPLE.offsets)


def test_a_python_without_the_library_fails_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match=r"train: .*No module named"):
        call(sys.executable, "train", tmp_path)


def test_a_python_that_is_not_there_fails_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="no-such-python"):
        call(str(tmp_path / "no-such-python"), "train", tmp_path)
