from itertools import pairwise

import numpy as np
import pytest
import torch

from embedder import training_set
from embedder.config import FeaturizerConfig
from embedder.featurizer import EncodedEvents, Featurizer, fit_featurizer
from embedder.network import SliceEncoder
from embedder.profiles import profile_slots
from embedder.slices import Spans
from embedder.slots import SliceSlots
from embedder.training_set import encode_slices, encode_spans
from tests.unit.embedder.people import SCHEMA, make_people

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoded() -> tuple[Featurizer, EncodedEvents]:
    people = make_people(60, 7)
    featurizer = fit_featurizer(people, SCHEMA, FeaturizerConfig(hash_buckets=64))
    return featurizer, featurizer.encode(people)


@pytest.fixture(scope="module")
def slices(encoded: tuple[Featurizer, EncodedEvents]) -> SliceSlots:
    """Slices that begin within the sequences of some users, the last user's first."""
    featurizer, events = encoded
    users = np.arange(len(events.offsets) - 1)[::-1]
    first, last = events.offsets[users], events.offsets[users + 1]
    first = np.where(last - first > 2, first + 1, first)
    return SliceSlots.of(featurizer, events, Spans(first, last))


def test_a_slice_has_the_slots_of_its_events_alone(
    encoded: tuple[Featurizer, EncodedEvents], slices: SliceSlots
) -> None:
    ends = np.append(0, np.cumsum(slices.size_B))
    for place, (begin, end) in enumerate(pairwise(ends.tolist())):
        rows = np.arange(slices.spans.first[place], slices.spans.last[place])
        ids, weights = profile_slots(*encoded, rows, np.full(len(rows), rows[0]))
        assert np.array_equal(slices.rows_E[begin:end], rows)
        assert (slices.owner_E[begin:end] == place).all()
        assert np.array_equal(slices.ids_ES[begin:end], ids)
        assert np.array_equal(slices.weights_ES[begin:end], weights)


def test_pieces_are_all_slices_in_order_and_each_is_as_if_found_alone(
    encoded: tuple[Featurizer, EncodedEvents], slices: SliceSlots
) -> None:
    found = []
    for place, piece in slices.pieces(events_at_once=20):
        found.append(np.arange(len(slices.size_B))[place])
        spans = Spans(slices.spans.first[place], slices.spans.last[place])
        alone = SliceSlots.of(*encoded, spans)
        assert np.array_equal(piece.rows_E, alone.rows_E)
        assert np.array_equal(piece.owner_E, alone.owner_E)
        assert np.array_equal(piece.ids_ES, alone.ids_ES)
        assert np.array_equal(piece.weights_ES, alone.weights_ES)
        assert np.array_equal(piece.size_B, alone.size_B)
        assert np.shares_memory(piece.ids_ES, slices.ids_ES)
    assert len(found) > 5
    assert np.concatenate(found).tolist() == list(range(len(slices.size_B)))


@pytest.mark.parametrize("events_at_once", [1, 20, 16_384])
def test_a_network_reads_slots_at_hand_as_it_reads_spans(
    encoded: tuple[Featurizer, EncodedEvents],
    slices: SliceSlots,
    events_at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network = SliceEncoder("gru", num_slots=encoded[0].num_slots, hidden=8, state=12, dim=6)
    expected = encode_spans(network, *encoded, slices.spans, CPU)
    monkeypatch.setattr(training_set, "EVENTS_AT_ONCE_ON_CPU", events_at_once)
    assert encode_slices(network, slices, CPU) == pytest.approx(expected, abs=1e-6)
    assert encode_spans(network, *encoded, slices.spans, CPU) == pytest.approx(expected, abs=1e-6)
