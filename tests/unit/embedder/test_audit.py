from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from embedder.audit import FieldFinding, audit_fields
from embedder.config import FeaturizerConfig
from embedder.featurizer import fit_featurizer
from store.schema import Role
from store.sequences import SequenceBatch
from tests.unit.embedder.people import SCHEMA, make_people, with_column


@pytest.fixture(scope="module")
def people() -> SequenceBatch:
    return make_people(100, 4)


def finding_of(batch: SequenceBatch, role: Role, values: Sequence[object]) -> FieldFinding:
    wider, schema = with_column(batch, SCHEMA, "column", role, pa.array(values))
    findings = audit_fields(wider, schema, FeaturizerConfig())
    return next(finding for finding in findings if finding.name == "column")


def user_of(batch: SequenceBatch) -> np.ndarray:
    return np.repeat(np.arange(batch.num_users), batch.num_events)


def test_a_session_id_is_left_out(people: SequenceBatch) -> None:
    half = np.arange(len(people.ts_us)) % 2
    sessions = [f"{u}-{part}" for u, part in zip(user_of(people), half, strict=True)]
    finding = finding_of(people, Role.CATEGORY, sessions)
    assert finding.left_out
    assert finding.shared_share == 0.0
    assert finding.num_values == len(set(sessions))


def test_an_id_of_every_event_is_left_out(people: SequenceBatch) -> None:
    ids = [f"request {row}" for row in range(len(people.ts_us))]
    assert finding_of(people, Role.CATEGORY, ids).left_out


def test_what_users_share_is_kept(people: SequenceBatch) -> None:
    findings = audit_fields(people, SCHEMA, FeaturizerConfig())
    assert [finding.name for finding in findings] == ["agent", "event_type", "page", "size"]
    assert not any(finding.left_out for finding in findings)
    assert all(f.shared_share == 1.0 for f in findings if f.name in ("agent", "event_type"))


def test_an_account_number_is_left_out(people: SequenceBatch) -> None:
    numbers = (user_of(people) * 7919 + 10_000).tolist()
    assert finding_of(people, Role.NUMBER, numbers).left_out


def test_numbers_that_hardly_repeat_are_kept(people: SequenceBatch) -> None:
    """Lines of a commit or prices are often unique, and tell nobody's name."""
    rng = np.random.default_rng(0)
    lines = rng.lognormal(3, 2, len(people.ts_us)).astype(np.int64).tolist()
    assert not finding_of(people, Role.NUMBER, lines).left_out
    exact = rng.normal(size=len(people.ts_us)).tolist()
    assert not finding_of(people, Role.NUMBER, exact).left_out


def test_a_column_of_nulls_is_no_danger(people: SequenceBatch) -> None:
    finding = finding_of(people, Role.CATEGORY, [None] * len(people.ts_us))
    assert (finding.num_values, finding.shared_share, finding.left_out) == (0, 1.0, False)


def test_the_share_counts_events_that_have_a_value(people: SequenceBatch) -> None:
    values: list[object] = [None] * len(people.ts_us)
    first = people.offsets[:4]
    for row, value in zip(first.tolist(), ["both", "both", "mine", None], strict=True):
        values[row] = value
    finding = finding_of(people, Role.CATEGORY, values)
    assert finding.shared_share == pytest.approx(2 / 3, abs=1e-4)
    assert finding.to_dict() == {
        "name": "column",
        "num_values": 2,
        "shared_share": 0.6667,
        "left_out": False,
    }


def test_a_clock_that_gives_each_user_one_time_is_left_out(people: SequenceBatch) -> None:
    frozen_us = people.ts_us[people.offsets[:-1]][user_of(people)]
    frozen = SequenceBatch(people.user_ids, people.offsets, frozen_us, people.events)
    findings = audit_fields(frozen, SCHEMA, FeaturizerConfig())
    assert [finding.name for finding in findings if finding.left_out] == ["ts"]
    featurizer = fit_featurizer(frozen, SCHEMA, FeaturizerConfig(), left_out=["ts"])
    encoded, as_ever = featurizer.encode(frozen), featurizer.encode(people)
    assert (encoded.ts_us == 0).all()
    assert (encoded.ids_ES == as_ever.ids_ES).all()
