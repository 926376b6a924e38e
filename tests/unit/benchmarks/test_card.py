import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.encoder.card import CARD, PATTERN, model_card
from benchmarks.encoder.card_results import (
    LOWER_IS_BETTER,
    losses_of_risk,
    read_results,
    risk_name,
    verdict,
)
from benchmarks.encoder.render import RESULTS
from embedder.evaluation.policy_precision import measure_policies

Change = Callable[[dict[str, Any]], None]

OTHER_THEMES = ("encoder_parts_*.json", "encoder_scale_*.json")  # without tasks of the card


def changed(folder: Path, pattern: str, change: Change) -> list[Path]:
    """Copy the committed results of a pattern, each changed."""
    others = {path for theme in OTHER_THEMES for path in RESULTS.glob(theme)}
    for source in set(RESULTS.glob(pattern)) - others:
        result = json.loads(source.read_text())
        change(result)
        (folder / source.name).write_text(json.dumps(result))
    return list(folder.glob("*.json"))


def section(card: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_the_card_is_what_the_results_say() -> None:
    text = model_card(RESULTS.glob(PATTERN))
    assert CARD.read_text() == text, "run: python -m benchmarks.encoder.card > docs/model-card.md"


def test_a_card_without_results_still_says_what_the_model_must_not_be_used_for() -> None:
    card = model_card([])
    assert "without a person" in section(card, "It must not be used for")
    assert "Not measured" in section(card, "Early detection")
    assert "Not measured" in section(card, "Cost")


def test_every_loss_of_the_encoder_is_told(tmp_path: Path) -> None:
    """Our leads are turned around, so that every one that was ahead is a loss."""

    def turn(result: dict[str, Any]) -> None:
        for task in result["tasks"]:
            for row in task["rows"]:
                for lead in row["lead_on_best_floor"].values():
                    lead.update(value=-0.1, low=-0.2, high=-0.05)

    files = changed(tmp_path, "encoder_*.json", turn)
    card = model_card(files)
    told = section(card, "Where a simple method wins")
    studies = read_results(files).encoders
    assert told.count("\n- ") == sum(len(study.result["tasks"]) for study in studies) > 0
    assert "−.100 [−.200, −.050]" in told
    assert "| ahead |" not in card


def test_where_a_simple_method_wins_at_a_rare_base_rate_it_is_told(tmp_path: Path) -> None:
    def lose(result: dict[str, Any]) -> None:
        for task in result["tasks"]:
            for rate in task.get("base_rates", ()):
                for demand in rate["demands"]:
                    for lead in demand["differences"].values():
                        lead.update(value=-0.1, low=-0.2, high=-0.05)

    told = section(
        model_card(changed(tmp_path, "early_risk_*.json", lose)), "Where a simple method wins"
    )
    assert re.search(
        r"first 3 events, behind boosted trees: .*precision at a base rate of 1 %", told
    )


def differences_in(part: Any, key: str = "", *, inside: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield every difference of a result, wherever it has one, with the key it stands under."""
    if isinstance(part, list):
        for each in part:
            yield from differences_in(each, key, inside=inside)
    elif isinstance(part, dict) and inside and "low" in part:
        yield key, part
    elif isinstance(part, dict):
        for name, each in part.items():
            yield from differences_in(each, name, inside=inside or name == "differences")


def test_every_loss_of_risk_is_told_wherever_a_result_has_it(tmp_path: Path) -> None:
    """Whatever is compared is lost, and every line tells as many losses as there are."""

    def lose(result: dict[str, Any]) -> None:
        for key, lead in differences_in(result["tasks"]):
            sign = 1 if key in LOWER_IS_BETTER else -1
            lead.update(value=sign * 0.1, low=sign * 0.1, high=sign * 0.1)

    (strict, whole) = read_results(changed(tmp_path, "early_risk_*.json", lose)).risks
    for study in (strict, whole):
        tasks = [task for task in study.result["tasks"] if task["measured"]]
        num_natural = sum(
            len(rate["differences"])  # the same as the task's own
            for task in tasks
            for rate in task.get("base_rates", ())
            if rate["is_natural"]
        )
        told = "".join(losses_of_risk(study)).count(".100 [")
        assert told == len(list(differences_in(tasks))) - num_natural > 100


def test_a_result_without_ours_or_without_simple_methods_is_told_as_far_as_it_goes(
    tmp_path: Path,
) -> None:
    def without_ours(result: dict[str, Any]) -> None:
        for task in result["tasks"]:
            task["rows"] = [row for row in task["rows"] if row["family"] == "floor"]

    def ours_alone(result: dict[str, Any]) -> None:
        for task in result["tasks"]:
            task["best_floor"] = None
            task["rows"] = [row for row in task["rows"] if row["family"] == "ours"]
            for row in task["rows"]:
                row["lead_on_best_floor"] = {}

    for name, change, said in (
        ("none", without_ours, "`lookalike` has no answer there"),
        ("alone", ours_alone, "| - | - | - | - |"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        assert said in model_card(changed(folder, "encoder_*.json", change))


def test_a_published_recipe_and_further_variants_of_ours_may_be_there(tmp_path: Path) -> None:
    def add(result: dict[str, Any]) -> None:
        for task in result["tasks"]:
            floor = next(row for row in task["rows"] if row["family"] == "floor")
            ours = next(row for row in task["rows"] if row["method"] == "ours")
            task["rows"] += [
                {**floor, "method": "coles", "family": "published"},
                {**ours, "method": "ours_without_contrast", "candidate": "ours_without_contrast"},
            ]

    card = model_card(changed(tmp_path, "encoder_*.json", add))
    assert "| `coles` ." in card


def test_refused_figures_are_not_shown(tmp_path: Path) -> None:
    def refuse(result: dict[str, Any]) -> None:
        for task in result["tasks"]:
            task.update(refused=["leak_columns"], metrics={}, base_rates=[], early_detection=[])

    card = model_card(changed(tmp_path, "early_risk_*.json", refuse))
    assert "| first 3 events |" not in card


def test_policies_are_told_where_a_result_has_them(tmp_path: Path) -> None:
    policies = measure_policies(
        ["spam"] * 40 + [None] * 10,
        np.full(50, 0.95),
        ["everyone"] * 50,
        np.arange(50) < 40,
        np.arange(50) < 30,
        confidence=0.95,
    )

    def add(result: dict[str, Any]) -> None:
        for task in result["tasks"]:
            task["likely_by_policy"] = [policy.to_dict() for policy in policies]

    told = section(model_card(changed(tmp_path, "early_risk_*.json", add)), "Factors")
    assert "| first 3 events | all users | 30 of 40 |" in told
    assert "| first 3 events | spam | 30 of 40 | .750 [" in told
    assert "| 0.95, proven on everyone | broken |" in told
    assert "By policy**: not measured" not in told
    assert "By policy**: not measured" in section(model_card([]), "Factors")


def test_of_two_results_of_a_track_the_latest_counts() -> None:
    studies = read_results(RESULTS.glob("early_risk_*.json")).risks
    files = [json.loads(path.read_text()) for path in RESULTS.glob("early_risk_*.json")]
    assert len(studies) < len(files)
    for study in studies:
        same = [file["measured_at"] for file in files if risk_name(file) == study.name]
        assert study.result["measured_at"] == max(same)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.02, "ahead"),
        (-0.02, -0.01, "behind"),
        (-0.01, 0.01, "level"),
        (None, None, "level"),
    ],
)
def test_a_verdict_needs_the_whole_interval(
    low: float | None, high: float | None, said: str
) -> None:
    assert verdict({"value": 0.0, "low": low, "high": high}) == said
    turned = {"ahead": "behind", "behind": "ahead", "level": "level"}[said]
    assert verdict({"value": 0.0, "low": low, "high": high}, lower_is_better=True) == turned
