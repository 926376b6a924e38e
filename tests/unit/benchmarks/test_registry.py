from collections.abc import Sequence
from functools import partial

import pytest

from benchmarks.encoder.config import QUICK_PLAN
from benchmarks.encoder.methods import Candidate
from benchmarks.encoder.ours import Variant
from benchmarks.encoder.registry import ABLATIONS, CANDIDATES, PARTS, chosen
from embedder.config import LossConfig, TrainingPlan
from jobs.errors import UsageError


def plans_of(candidates: Sequence[Candidate]) -> dict[str, TrainingPlan]:
    found = {}
    for candidate in candidates:
        assert isinstance(candidate.fit, partial)
        variant = candidate.fit.keywords["variant"]
        assert isinstance(variant, Variant)
        found[candidate.name] = variant.plan(QUICK_PLAN)
    return found


def test_no_two_candidates_have_one_name() -> None:
    names = [candidate.name for candidate in CANDIDATES]
    assert len(set(names)) == len(names)
    assert {candidate.name for candidate in ABLATIONS} <= set(names)


def test_an_ablation_alters_the_plan_in_one_thing() -> None:
    for name, plan in plans_of(ABLATIONS).items():
        assert len(altered(QUICK_PLAN, plan)) == 1, name


def altered(shipped: TrainingPlan, found: TrainingPlan) -> set[str]:
    before, after = (plan.model_dump() for plan in (shipped, found))
    before, after = (plan | plan.pop("losses") for plan in (before, after))
    return {key for key in before if before[key] != after[key]}


def test_parts_are_compared_with_a_training_that_is_measured_too() -> None:
    plans = plans_of(PARTS)
    for part in PARTS:
        if part.altered_from is None:
            continue
        changed = altered(plans[part.altered_from], plans[part.name])
        assert changed <= {*LossConfig.model_fields, "backbones"}
        assert "contrast_weight" not in changed  # what conduct learns from hardly is behavior
        assert len(changed) == 1 or part.name == "ours_without_terms"


def test_what_nothing_is_measured_of_is_unknown() -> None:
    assert [one.name for one in chosen(["ours"], PARTS)] == ["ours"]
    assert chosen([], PARTS) == PARTS
    with pytest.raises(UsageError, match="no method tfidf; there are ours, ours_gru,"):
        chosen(["tfidf"], PARTS)
