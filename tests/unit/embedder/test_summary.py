import numpy as np
import pyarrow as pa
import pytest

from embedder.config import FeaturizerConfig
from embedder.featurizer import ALWAYS, EncodedEvents, fit_featurizer
from embedder.profiles import fit_profiles
from embedder.slices import Spans
from embedder.summary import (
    FIRST_EVENTS,
    LAST_EVENTS,
    Summarizer,
    fit_summarizer,
    last_values,
)
from store.sequences import SequenceBatch
from tests.unit.embedder.people import HOUR_US, SCHEMA, make_people


@pytest.fixture(scope="module")
def people() -> SequenceBatch:
    return make_people(300, 3)


@pytest.fixture(scope="module")
def summarizer(people: SequenceBatch) -> Summarizer:
    featurizer = fit_featurizer(people, SCHEMA, FeaturizerConfig())
    events = featurizer.encode(people, counted_before_us=ALWAYS)
    return fit_summarizer(featurizer, fit_profiles(featurizer, events, dim_target=64).idf_V)


def encode(summarizer: Summarizer, people: SequenceBatch) -> EncodedEvents:
    return summarizer.featurizer.encode(people, counted_before_us=ALWAYS)


def summarize(summarizer: Summarizer, events: EncodedEvents, spans: Spans) -> np.ndarray:
    """The summary where nothing is told of the events beside their slots."""
    nothing = np.zeros((len(events.ts_us), 0), dtype=np.float32)
    return summarizer.summarize(events, nothing, spans)


def whole(events: EncodedEvents) -> Spans:
    return Spans(events.offsets[:-1], events.offsets[1:])


def test_count_and_life_come_first(summarizer: Summarizer, people: SequenceBatch) -> None:
    events = encode(summarizer, people)
    summary = summarize(summarizer, events, whole(events))
    lived = people.ts_us[people.offsets[1:] - 1] - people.ts_us[people.offsets[:-1]]
    assert summary[:, 0] == pytest.approx(np.log1p(people.num_events), rel=1e-6)
    assert summary[:, 1] == pytest.approx(np.log1p(lived / 1e6), rel=1e-5)


def test_a_prefix_is_summarized_as_if_nothing_came_after(
    summarizer: Summarizer, people: SequenceBatch
) -> None:
    events = encode(summarizer, people)
    stop = np.minimum(events.offsets[:-1] + 3, events.offsets[1:])
    prefix = summarize(summarizer, events, Spans(events.offsets[:-1], stop))
    alone = encode(summarizer, people.head(3))
    np.testing.assert_array_equal(prefix, summarize(summarizer, alone, whole(alone)))


def test_users_do_not_depend_on_their_company(
    summarizer: Summarizer, people: SequenceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = encode(summarizer, people)
    together = summarize(summarizer, events, whole(events))
    monkeypatch.setattr("embedder.summary.EVENTS_AT_ONCE", 50)
    np.testing.assert_allclose(summarize(summarizer, events, whole(events)), together, rtol=1e-5)


def test_first_events_are_told_one_by_one_and_end_with_the_user(
    summarizer: Summarizer, people: SequenceBatch
) -> None:
    few = people.head(2)
    events = encode(summarizer, few)
    summary = summarize(summarizer, events, whole(events))
    columns = len(summarizer.named) + len(summarizer.ordered)
    placed = summary[:, -columns * FIRST_EVENTS :].reshape(len(summary), columns, FIRST_EVENTS)
    two = few.num_events == 2
    first_field = placed[two, 0]
    assert np.isfinite(first_field[:, :2]).all()
    assert np.isnan(placed[:, :, 2:]).all()


def test_nothing_but_the_hours_tells_a_time(summarizer: Summarizer, people: SequenceBatch) -> None:
    """Ten weeks later, the same habits have the same summary."""
    later = SequenceBatch(
        people.user_ids, people.offsets, people.ts_us + 70 * 24 * HOUR_US, people.events
    )
    before, after = encode(summarizer, people), encode(summarizer, later)
    np.testing.assert_array_equal(
        summarize(summarizer, before, whole(before)), summarize(summarizer, after, whole(after))
    )


def test_the_most_common_value_has_rank_zero(summarizer: Summarizer, people: SequenceBatch) -> None:
    events = people.events["event_type"].to_pylist()
    user = np.repeat(np.arange(people.num_users), people.num_events)
    users_of = {kind: len(set(user[np.array(events) == kind])) for kind in set(events)}
    common = max(users_of, key=lambda kind: users_of[kind])
    at = np.flatnonzero(np.array(events) == common)[0]
    one = SequenceBatch(
        ["x"], np.array([0, 1]), people.ts_us[at : at + 1], people.events[at : at + 1]
    )
    encoded = encode(summarizer, one)
    summary = summarize(summarizer, encoded, whole(encoded))
    columns = len(summarizer.named) + len(summarizer.ordered)
    placed = summary[0, -columns * FIRST_EVENTS :].reshape(columns, FIRST_EVENTS)
    assert placed[summarizer.named.index("event_type"), 0] == 0


def test_a_column_of_nulls_has_nothing_to_tell(
    summarizer: Summarizer, people: SequenceBatch
) -> None:
    without = SequenceBatch(
        people.user_ids,
        people.offsets,
        people.ts_us,
        people.events.set_column(
            people.events.column_names.index("size"),
            "size",
            pa.nulls(people.events.num_rows, pa.float64()),
        ),
    )
    full, empty = encode(summarizer, people), encode(summarizer, without)
    gone = np.isnan(summarize(summarizer, empty, whole(empty))) & np.isfinite(
        summarize(summarizer, full, whole(full))
    )
    assert gone.all(axis=0).any()


def test_what_is_told_of_the_events_has_its_level_its_last_and_its_first(
    summarizer: Summarizer, people: SequenceBatch
) -> None:
    events = encode(summarizer, people)
    told = np.arange(len(events.ts_us), dtype=np.float32)[:, None]
    summary = summarizer.summarize(events, told, whole(events))
    first, last = events.offsets[:-1], events.offsets[1:]
    for wanted in ((first + last - 1) / 2, first, last - 1):
        assert (np.nanmin(np.abs(summary - wanted[:, None]), axis=1) < 1e-3).all()
    before = summarize(summarizer, events, whole(events))
    assert summary.shape[1] == before.shape[1] + 5 + FIRST_EVENTS + LAST_EVENTS


def test_last_events_are_told_the_latest_first() -> None:
    code = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
    told = last_values(code, np.array([0, 5]), np.array([5, 1]))
    np.testing.assert_array_equal(told[0], [5, 4, 3])
    np.testing.assert_array_equal(told[1], [9, np.nan, np.nan])
