"""The tasks of an evaluation on a real lake: who is asked, what is hidden, what is reported."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from embedder.evaluation.results import TaskResult
from index.errors import TooFewLabels
from jobs.demo_tasks import measure_evaders, measure_rings
from jobs.measure import Trial, measure_group_task, measure_halves
from jobs.measure_detection import look_at, measure_early_detection
from jobs.measure_risk import judge, measure_risk
from jobs.people import People, read_people, read_sequences
from store.clock import from_us
from store.labels import LabelView
from tests.integration.evaluation.conftest import NOW, Platform, RuleAssessment, RuleRisk


def as_of_cut(platform: Platform, trial: Trial) -> People:
    return platform.people(from_us(trial.cut_us))


def assert_measured_beside_floors(task: TaskResult) -> None:
    assert task.comparison is not None, task.why_not
    methods = list(task.comparison.metrics)
    assert methods[0].startswith("lookalike")
    assert any(method.startswith("tfidf") for method in methods)
    assert set(task.comparison.differences) == set(methods[1:])


def test_people_have_their_labels_in_the_order_of_the_lake(platform: Platform) -> None:
    people = platform.people()
    assert people.user_ids == sorted(people.user_ids)
    labels = {row["user_id"]: row for row in people.labels.table.to_pylist()}
    for row in range(0, len(people.user_ids), 97):
        label = labels.get(people.user_ids[row])
        assert people.label_N[row] == (-1 if label is None else label["label"])
        assert people.group[row] == (None if label is None else label["group"])


def test_sequences_end_before_the_violation_and_before_the_time(
    platform: Platform, trial: Trial
) -> None:
    people = as_of_cut(platform, trial)
    rows = np.flatnonzero(people.is_violator_N)
    batch = read_sequences(platform.lake, people, rows, columns=["place"], max_events=10_000)
    assert batch is not None
    assert list(batch.user_ids) == people.ids(rows)
    cutoffs = people.labels.cutoffs()
    occurred = dict(
        zip(cutoffs["user_id"].to_pylist(), cutoffs["cutoff_us"].to_pylist(), strict=True)
    )
    last_us = batch.ts_us[batch.offsets[1:] - 1]
    assert (last_us < trial.cut_us).all()
    assert all(time < occurred[user] for user, time in zip(batch.user_ids, last_us, strict=True))


def test_halves_are_measured_beside_floors(trial: Trial) -> None:
    full, disjoint = measure_halves(trial)
    assert_measured_beside_floors(full)
    assert_measured_beside_floors(disjoint)
    assert full.comparison is not None
    assert full.comparison.metrics["tfidf"]["hit_at_1"].value > 10 * full.extra["chance_hit_at_1"]
    assert any(note.startswith("measured on") for note in full.notes)


def test_groups_ask_only_members_whom_training_did_not_know(trial: Trial) -> None:
    task = measure_group_task(trial)
    people = trial.people
    named = np.array([group is not None for group in people.group])
    unknown = named & (people.known_us_N >= trial.cut_us) & (people.num_events_N >= 5)
    asked = task.counts["queries"] + task.counts["queries_without_right_answer"]
    assert 0 < asked == unknown.sum() < named.sum()


def test_risk_is_measured_at_every_prefix_on_users_of_after_the_cut(
    platform: Platform, trial: Trial
) -> None:
    tasks = measure_risk(trial, as_of_cut(platform, trial), RuleRisk(), with_trees=True)
    assert [task.name for task in tasks] == ["risk_first_3", "risk_first_5", "risk_first_all"]
    for task in tasks:
        assert_measured_beside_floors(task)
        assert task.comparison is not None
        assert "boosted_trees" in task.comparison.metrics
        late = trial.people.first_us_N >= trial.cut_us
        labelled = late & (trial.people.label_N >= 0)
        assert task.counts["users"] == labelled.sum()
        assert task.counts["positives"] == (late & trial.people.is_violator_N).sum()
        assert 0 < task.extra["answered_share"] < 1


def test_likely_is_counted_by_policy_beside_what_was_promised(
    platform: Platform, trial: Trial
) -> None:
    """The rule calls whoever has four events likely, and whoever has an even number a spammer."""
    *_, task = measure_risk(trial, as_of_cut(platform, trial), RuleRisk(), with_trees=False)
    people = trial.people
    tested = (people.first_us_N >= trial.cut_us) & (people.label_N >= 0)
    tested &= people.num_events_N >= 3
    likely = tested & (people.num_events_N == 4)
    everyone, spam, without = task.by_policy
    assert (everyone.policy, spam.policy, without.policy) == (None, "spam", None)
    assert [one.is_total for one in task.by_policy] == [True, False, False]
    assert everyone.num_users == spam.num_users + without.num_users == tested.sum()
    assert spam.num_likely == everyone.num_likely == likely.sum() > 0
    assert spam.num_likely_positives == (likely & people.is_violator_N).sum()
    assert (spam.promised, everyone.promised) == (0.99, 0.95)
    assert spam.precision is not None
    assert spam.precision.value == spam.num_likely_positives / spam.num_likely
    assert (without.num_likely, without.precision, without.verdict) == (0, None, "nobody")
    told = task.to_dict()["likely_by_policy"]
    assert isinstance(told, list)
    assert [one["fitted_on"] for one in told] == ["everyone", "policy", "everyone"]


class HearsSilence(RuleRisk):
    """Finds nobody likely who may have been silent for long."""

    def assess(
        self,
        query_QD: npt.NDArray[np.float32],
        num_events_Q: npt.NDArray[np.int64],
        *,
        own_ids: Sequence[str | None],
        silence_us_Q: npt.NDArray[np.int64] | None = None,
    ) -> RuleAssessment:
        assessed = super().assess(query_QD, num_events_Q, own_ids=own_ids)
        if silence_us_Q is not None and not silence_us_Q.any():
            return replace(assessed, probability=np.ones(len(num_events_Q)))
        return replace(assessed, band=["possible"] * len(num_events_Q))


def test_likely_is_counted_as_the_service_says_it_right_after_the_last_event(trial: Trial) -> None:
    batch = trial.read(np.arange(200))
    assert batch is not None
    judged = judge(trial.embedder, HearsSilence(), batch)
    assert (judged.is_likely == (batch.num_events == 4)).all()
    assert judged.is_likely.any()
    assert judged.probability == pytest.approx(1 / (1 + batch.num_events))


def test_users_are_looked_at_after_every_event_and_never_past_the_violation(
    platform: Platform, trial: Trial
) -> None:
    """The rule says `likely` after four events: everyone who lives that long is over it then."""
    task = measure_early_detection(trial, as_of_cut(platform, trial), RuleRisk())
    people = trial.people
    late = people.first_us_N >= trial.cut_us
    assert task.detection is not None
    likely = task.detection.thresholds[0]
    lived = late & people.is_violator_N & (people.num_events_N >= 4)
    assert likely.num_positives == (late & people.is_violator_N).sum()
    assert likely.num_detected == lived.sum() > 0
    by_events = {step.num_events: step.num_detected for step in likely.curve}
    assert (by_events[3], by_events[4]) == (0, lived.sum())
    lead = np.sort(people.num_events_N[lived] - 4)
    assert likely.lead_events[1].value == np.quantile(lead, 0.5, method="inverted_cdf")
    assert likely.lead_hours[0].value > 0
    benign = late & (people.label_N == 0)
    assert likely.num_benign == benign.sum()
    assert likely.num_alarmed == (benign & (people.num_events_N >= 4)).sum()


def test_looks_are_those_at_the_same_first_events_taken_alone(trial: Trial) -> None:
    batch = trial.read(np.flatnonzero(trial.people.num_events_N > 2)[:40])
    assert batch is not None
    looks = look_at(trial.embedder, RuleRisk(), batch)
    for place, age in enumerate(looks.age_A.tolist()):
        alone = judge(trial.embedder, RuleRisk(), batch.head(age))
        looked = np.isfinite(looks.probability_NA[:, place])
        assert (looks.probability_NA[looked, place] == alone.probability[looked]).all()
        assert (looked <= alone.answered).all()
    assert (np.isfinite(looks.probability_NA).any(axis=1)).all()


def test_early_detection_passes_on_why_there_is_none(platform: Platform, trial: Trial) -> None:
    task = measure_early_detection(trial, as_of_cut(platform, trial), TooFewLabels("it rains"))
    assert task.why_not == "not measurable here, because it rains"
    assert task.to_dict()["measured"] is False


def test_floors_do_not_see_labels_of_after_the_cut(platform: Platform, trial: Trial) -> None:
    """Turning all later labels around changes what is right, not what the floors say."""
    at_cut = as_of_cut(platform, trial)
    turned = replace(
        trial,
        people=replace(
            trial.people, label_N=np.where(trial.people.label_N >= 0, 1 - trial.people.label_N, -1)
        ),
    )
    honest = measure_risk(trial, at_cut, RuleRisk(), with_trees=False)
    other = measure_risk(turned, at_cut, RuleRisk(), with_trees=False)
    for left, right in zip(honest, other, strict=True):
        assert left.comparison is not None
        assert right.comparison is not None
        auc = left.comparison.metrics["tfidf"]["auc"].value
        assert right.comparison.metrics["tfidf"]["auc"].value == pytest.approx(1 - auc)


def test_without_a_risk_model_the_reason_is_passed_on(platform: Platform, trial: Trial) -> None:
    tasks = measure_risk(
        trial, as_of_cut(platform, trial), TooFewLabels("it rains"), with_trees=False
    )
    assert [task.why_not for task in tasks] == ["not measurable here, because it rains"] * 3


def unlabelled(trial: Trial) -> Trial:
    labels = LabelView(trial.people.labels.table.slice(0, 0))
    return replace(trial, people=read_people(trial.lake, labels, as_of=NOW))


def test_a_platform_without_labels_says_so(trial: Trial) -> None:
    bare = unlabelled(trial)
    assert "no label names a group" in (measure_group_task(bare).why_not or "")
    tasks = measure_risk(bare, bare.people, RuleRisk(), with_trees=False)
    assert all("only 0 violators were first seen" in (task.why_not or "") for task in tasks)
    assert measure_halves(bare)[0].comparison is not None


def test_too_few_events_are_said_with_their_count(trial: Trial) -> None:
    config = trial.config.model_copy(update={"half_min_events": 5000})
    for task in measure_halves(replace(trial, config=config)):
        assert task.comparison is None
        assert "only 0 users have 5000 events" in (task.why_not or "")


def test_evaders_are_those_of_after_the_cut_and_the_banned_account_is_right(
    platform: Platform, trial: Trial
) -> None:
    task = measure_evaders(trial, platform.truth_file)
    truth = pq.read_table(platform.truth_file)
    evaders = truth.filter(pc.is_valid(truth["evader_of"]))["user_id"]
    rows = np.flatnonzero(
        pc.is_in(pa.array(trial.people.user_ids), value_set=evaders.combine_chunks())
    )
    late = (trial.people.first_us_N[rows] >= trial.cut_us) & (trial.people.num_events_N[rows] >= 5)
    asked = task.counts["queries"] + task.counts["queries_without_right_answer"]
    assert asked == late.sum() > 0
    assert task.counts["gallery"] < trial.people.is_violator_N.sum()


def test_rings_are_searched_among_everyone(platform: Platform, trial: Trial) -> None:
    task = measure_rings(trial, platform.truth_file)
    assert task.counts["gallery"] == (trial.people.num_events_N >= 5).sum()
    assert_measured_beside_floors(task)


def test_labels_known_later_do_not_belong_to_the_people_of_the_cut(
    platform: Platform, trial: Trial
) -> None:
    cut: datetime = from_us(trial.cut_us)
    people = platform.people(cut)
    assert (people.known_us_N[people.label_N >= 0] < trial.cut_us).all()
    assert people.is_violator_N.sum() < platform.people().is_violator_N.sum()
