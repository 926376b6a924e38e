from functools import partial

from benchmarks.encoder.config import QUICK_PLAN
from benchmarks.encoder.ours import Variant
from benchmarks.encoder.registry import ABLATIONS, CANDIDATES
from embedder.config import TrainingPlan


def altered_plans() -> dict[str, TrainingPlan]:
    found = {}
    for candidate in ABLATIONS:
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
    for name, plan in altered_plans().items():
        shipped, found = QUICK_PLAN.model_dump(), plan.model_dump()
        losses, learned = shipped.pop("losses"), found.pop("losses")
        altered = [key for key in shipped if shipped[key] != found[key]]
        altered += [key for key in losses if losses[key] != learned[key]]
        assert len(altered) == 1, name
