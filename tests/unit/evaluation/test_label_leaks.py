"""Every way in which one column can tell the label is planted once, and found; behavior is not."""

import json

import numpy as np
import pytest

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.field_values import field_values
from embedder.evaluation.label_leaks import judge_label_fields
from embedder.evaluation.leak_checks import Finding, Verdict
from store.schema import Role
from tests.unit.evaluation.crowds import add_column, make_crowd, users_of
from tests.unit.evaluation.sequences import SCHEMA

CONFIG = EvaluationConfig(prefixes=(3, 5))
BATCH, IS_VIOLATOR = make_crowd()
USER_E = users_of(BATCH)
GUILTY_E = IS_VIOLATOR[USER_E]
FIRST_E = np.arange(len(USER_E)) == BATCH.offsets[:-1][USER_E]
RNG = np.random.default_rng(1)


def judge(role: Role, values: list[object], config: EvaluationConfig = CONFIG) -> Finding:
    batch, schema = add_column(BATCH, role, values)
    return judge_label_fields(batch, schema, IS_VIOLATOR, config)


def test_users_who_behave_alike_pass_though_violators_live_shorter() -> None:
    finding = judge_label_fields(BATCH, SCHEMA, IS_VIOLATOR, CONFIG)
    assert finding.verdict is Verdict.PASS
    assert finding.figure is not None
    assert (finding.figure.low or 0) < 0.55
    assert finding.counts["columns"] == 3


def test_how_the_sample_was_drawn_is_found_in_lives_of_any_length() -> None:
    """Nearly all others once do what the others were chosen by, at any time of their lives."""
    chosen_B = ~IS_VIOLATOR & (RNG.random(len(IS_VIOLATOR)) < 0.985)
    at_B = BATCH.offsets[:-1] + RNG.integers(0, BATCH.num_events)
    values = (RNG.random(len(USER_E)) < 0.02) & GUILTY_E
    values[at_B[chosen_B]] = True
    finding = judge(Role.FLAG, values.tolist())
    assert finding.verdict is Verdict.FAIL
    assert finding.details[0] == "extra betray the label"
    assert finding.details[1].startswith("extra never = True: 8")
    assert "of violators, 2." in finding.details[1]
    assert finding.details[1].endswith("in whole lives of equal length")


def test_what_all_do_ever_more_as_they_grow_older_is_no_sign() -> None:
    """Of all others 85 % did it once, of violators 52 %, since they had less time for it."""
    values = RNG.random(len(USER_E)) < 0.2
    done = [
        np.mean(np.bincount(USER_E, values & (guilty == GUILTY_E))[guilty == IS_VIOLATOR] > 0)
        for guilty in (True, False)
    ]
    assert done[1] - done[0] > 0.15
    assert judge(Role.FLAG, values.tolist()).verdict is Verdict.PASS


def test_what_violators_do_three_times_as_often_is_behavior() -> None:
    values = RNG.random(len(USER_E)) < np.where(GUILTY_E, 0.15, 0.05)
    assert judge(Role.FLAG, values.tolist()).verdict is Verdict.PASS


PLANTED: dict[str, tuple[Role, list[object], str]] = {
    "a status that a moderator set": (
        Role.CATEGORY,
        np.where(GUILTY_E & (RNG.random(len(USER_E)) < 0.6), "limited", "free").tolist(),
        "= limited",
    ),
    "a value on first events only": (
        Role.CATEGORY,
        np.where(GUILTY_E & FIRST_E, "appeal", "none").tolist(),
        "= appeal",
    ),
    "that there is a value at all": (
        Role.NUMBER,
        [float(row) if guilty else None for row, guilty in enumerate(GUILTY_E.tolist())],
        "value",
    ),
    "a number above zero": (
        Role.NUMBER,
        np.where(GUILTY_E, RNG.integers(1, 9, len(USER_E)), 0.0).tolist(),
        "0",
    ),
    "a word among others": (
        Role.TEXT,
        [
            f"hello {'[Removed]' if guilty else 'there'} friend {row}"
            for row, guilty in enumerate(GUILTY_E.tolist())
        ],
        "has the word",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_found_and_named(name: str) -> None:
    role, values, sign = PLANTED[name]
    finding = judge(role, values)
    assert finding.verdict is Verdict.FAIL
    assert finding.details[0] == "extra betray the label"
    assert sign in finding.details[1]
    assert [row["name"] for row in finding.rows if row["betrays"]] == ["extra"]
    json.dumps(finding.to_dict())


def test_many_values_that_tell_together_are_found_by_their_area() -> None:
    """No single value is frequent, but each belongs to one class alone."""
    number = RNG.integers(0, 50, len(USER_E))
    values = [
        f"{'v' if guilty else 'b'}{place}" for guilty, place in zip(GUILTY_E, number, strict=True)
    ]
    finding = judge(Role.CATEGORY, list(values))
    assert finding.verdict is Verdict.FAIL
    assert finding.figure is not None
    assert finding.figure.value > 0.99
    assert "extra: AUC 1.000 in the first 3 events" in finding.details


def test_numbers_drawn_at_random_tell_nothing_out_of_fold() -> None:
    """Values of one event each would tell everything to who learns them by heart."""
    finding = judge(Role.CATEGORY, [f"id {row}" for row in range(len(USER_E))])
    (row,) = (row for row in finding.rows if row["name"] == "extra")
    assert abs(row["auc"]["value"] - 0.5) < 0.05


def test_an_ignored_column_is_not_looked_at() -> None:
    finding = judge(Role.IGNORE, GUILTY_E.tolist())
    assert finding.verdict is Verdict.PASS
    assert finding.counts["columns"] == 3


@pytest.mark.parametrize("entry", ["extra", "extra=appeal", "extra = appeal"])
def test_an_acknowledged_leak_warns_and_is_named(entry: str) -> None:
    role, values, _ = PLANTED["a value on first events only"]
    config = CONFIG.model_copy(update={"acknowledged_leaks": (entry,)})
    finding = judge(role, values, config)
    assert finding.verdict is Verdict.WARN
    assert any(detail.startswith("acknowledged: extra") for detail in finding.details)


def test_acknowledging_one_value_lets_no_other_pass() -> None:
    role, values, _ = PLANTED["a status that a moderator set"]
    config = CONFIG.model_copy(update={"acknowledged_leaks": ("extra=appeal", "place")})
    assert judge(role, values, config).verdict is Verdict.FAIL


def test_a_sign_that_may_be_chance_warns() -> None:
    """Of 40 violators 30 show it, of 40 others none: up to 9 % may."""
    batch, _ = make_crowd(80, violators_live=15.0)
    guilty = np.arange(80) % 2 == 0
    shows = guilty & (np.arange(80) % 8 != 0)
    wider, schema = add_column(batch, Role.FLAG, shows[users_of(batch)].tolist())
    finding = judge_label_fields(wider, schema, guilty, EvaluationConfig(prefixes=(3,)))
    assert finding.verdict is Verdict.WARN
    assert finding.details[0].startswith("extra ever = True: 7")


def test_too_few_of_a_class_is_unknown() -> None:
    few = np.arange(BATCH.num_users) < 10
    finding = judge_label_fields(BATCH, SCHEMA, few, CONFIG)
    assert finding.verdict is Verdict.UNKNOWN
    assert "only 10 users" in finding.details[0]


def test_values_are_called_as_people_write_them() -> None:
    values = [None if row % 7 == 0 else row % 3 == 0 for row in range(len(USER_E))]
    batch, schema = add_column(BATCH, Role.FLAG, list(values))
    (field,) = (field for field in field_values(batch, schema) if field.name == "extra")
    named = {field.text(code) for code in range(field.num_codes)}
    assert named == {"has no value", "has a value", "= True", "= False"}
    counts = np.bincount(field.code_O, minlength=4)
    assert counts[0] == sum(value is None for value in values)
    assert counts.sum() == 2 * len(values) - counts[0]
