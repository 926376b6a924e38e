"""Whether `likely` kept its promise, as far as so few users can tell."""

import numpy as np
import pytest

from embedder.evaluation.policy_precision import Verdict, measure_policies
from jobs.report.figures import name_policy

ALL = np.ones(40, dtype=np.bool_)


@pytest.mark.parametrize(
    ("num_violators", "promised", "verdict"),
    [(40, 0.9, "kept"), (40, 0.95, "open"), (37, 0.95, "open"), (30, 0.95, "broken")],
)
def test_a_promise_is_kept_or_broken_by_the_interval(
    num_violators: int, promised: float, verdict: Verdict
) -> None:
    (everyone,) = measure_policies(
        [None] * 40,
        np.full(40, promised),
        ["everyone"] * 40,
        ALL,
        np.arange(40) < num_violators,
        confidence=0.95,
    )
    assert everyone.verdict == verdict
    assert everyone.precision is not None
    assert everyone.precision.value == num_violators / 40
    assert (everyone.num_users, everyone.num_likely) == (40, 40)


def test_every_user_is_counted_once_among_the_policies() -> None:
    policies = (["b", "a", None, "b"] * 10)[:40]
    is_likely = np.arange(40) % 2 == 0
    everyone, *parts = measure_policies(
        policies,
        np.where([policy == "a" for policy in policies], 0.99, 0.95),
        ["policy" if policy == "a" else "everyone" for policy in policies],
        is_likely,
        np.arange(40) < 20,
        confidence=0.95,
    )
    assert [part.policy for part in parts] == ["a", "b", None]
    assert [part.num_users for part in parts] == [10, 20, 10]
    assert sum(part.num_likely for part in parts) == everyone.num_likely == 20
    assert sum(part.num_likely_positives for part in parts) == everyone.num_likely_positives
    assert [part.promised for part in (everyone, *parts)] == [0.95, 0.99, 0.95, 0.95]
    assert (parts[0].precision, parts[0].verdict) == (None, "nobody")


def test_a_policy_called_everyone_is_one_of_the_policies() -> None:
    total, everyone, without = measure_policies(
        ["everyone"] * 30 + [None] * 10,
        np.repeat([0.99, 0.95], [30, 10]),
        ["policy"] * 30 + ["everyone"] * 10,
        ALL,
        np.arange(40) < 25,
        confidence=0.95,
    )
    assert (total.is_total, total.policy, total.num_users) == (True, None, 40)
    assert (everyone.is_total, everyone.policy, everyone.num_users) == (False, "everyone", 30)
    assert (everyone.promised, everyone.fitted_on) == (0.99, "policy")
    assert (without.is_total, without.policy, without.num_users) == (False, None, 10)
    assert [name_policy(one) for one in (total, everyone, without)] == [
        "all users",
        "everyone",
        "no policy",
    ]


def test_of_nobody_nothing_is_said() -> None:
    none = np.zeros(0, dtype=np.bool_)
    assert measure_policies([], np.zeros(0), [], none, none, confidence=0.95) == ()
