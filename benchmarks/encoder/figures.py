"""From rows to figures: the mean over seeds, intervals over users, and the lead on the best floor.

The best floor of a task is the one with the best figure on the very users who are judged, which
favors floors. Every method is compared with it in pairs, within each resample of the users. Figures
of several seeds are averaged before the interval is drawn, so that it tells of other users, and the
spread of the seeds stands beside it. Who asks for the same group is resampled together.

Shape key: `R` resamples, `N` users judged or asking.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.encoder.methods import FAMILIES
from benchmarks.encoder.rows import CORRECTED, PLAIN, Row, RowStore, unpack_ranking
from benchmarks.encoder.tasks import AnyTask, RiskTask
from embedder.evaluation.bootstrap import (
    Comparison,
    Draw,
    Estimate,
    Metrics,
    classifier_metrics,
    compare,
    ranking_metrics,
)
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import Floats, Int64s, area_under_roc, make_ladder
from index.risk.config import RiskConfig

MAIN_OF_RISK, MAIN_OF_RETRIEVAL = "auc", "mrr_csls"
ANSWERED = "auc_answered"
RANKING_METRICS = ("hit_at_1", "hit_at_10", "mrr")

Figures = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """A method's figures on a task, for any weights of the users, by seed."""

    rows: tuple[Row, ...]
    by_seed: tuple[Metrics, ...]

    @property
    def seeds(self) -> frozenset[int]:
        """The seeds that are measured."""
        return frozenset(row.seed for row in self.rows)

    def of_seeds(self, seeds: Collection[int]) -> "Measured":
        """Return the figures of some seeds, ascending."""
        order = sorted(range(len(self.rows)), key=lambda place: self.rows[place].seed)
        kept = [place for place in order if self.rows[place].seed in seeds]
        return Measured(
            tuple(self.rows[place] for place in kept), tuple(self.by_seed[place] for place in kept)
        )

    def mean(self, draw: Draw) -> dict[str, Floats]:
        """Return the mean over seeds."""
        figures = [measure(draw) for measure in self.by_seed]
        return {key: np.mean([each[key] for each in figures], axis=0) for key in figures[0]}


def figures_of(
    task: AnyTask,
    store: RowStore,
    config: EvaluationConfig,
    altered_from: Mapping[str, str],
) -> Figures:
    """Return all there is to say of a task, as JSON.

    Args:
        task: The task.
        store: What the methods said.
        config: How intervals are drawn.
        altered_from: By a candidate that is another but for one thing, that other one.
    """
    main, group_N, measure = _measures(task, store)
    num_users = len(group_N)
    answered = [row for row in store.rows(task.name) if row.why_not is None]
    names = _in_order({row.method: row for row in answered})
    measured = {}
    for name in names:
        rows = tuple(row for row in answered if row.method == name)
        arrays = (store.arrays(task.name, row) for row in rows)
        measured[name] = Measured(rows, tuple(measure(each) for each in arrays))
    whole = Draw(np.ones((1, num_users)), np.zeros(1))
    floors = {
        name: float(one.mean(whole)[main][0])
        for name, one in measured.items()
        if one.rows[0].family == "floor"
    }
    best = max(floors, key=lambda name: floors[name]) if floors else None
    order = names if best is None else [best, *(name for name in names if name != best)]
    comparison = compare(
        {name: measured[name].mean for name in order},
        num_users=num_users,
        config=config,
        group_N=group_N,
    )
    return {
        "name": task.name,
        "title": task.title,
        "counts": task.counts,
        "main_metric": main,
        "best_floor": best,
        "rows": [
            _row(name, measured[name], comparison, num_users, has_floor=best is not None)
            | _lead_on_unaltered(name, measured, altered_from, group_N, config)
            for name in names
        ],
        "not_answered": {
            row.method: row.why_not for row in store.rows(task.name) if row.why_not is not None
        },
        **(
            {}
            if isinstance(task, RiskTask)
            else {"chance_hit_at_1": task.question.chance, "resampled": "groups"}
        ),
    }


def _measures(
    task: AnyTask, store: RowStore
) -> tuple[str, Int64s, Callable[[Mapping[str, Floats]], Metrics]]:
    """Return the main metric, who is resampled together, and what makes metrics of arrays."""
    if isinstance(task, RiskTask):
        truth = store.read_task(task.name)
        is_positive, answered = (
            truth["is_positive"],
            truth["num_events"] >= RiskConfig().events_min,
        )

        def of_risk(arrays: Mapping[str, Floats]) -> Metrics:
            probability = arrays["probability"]
            measure = classifier_metrics(probability, is_positive)

            def with_answered(draw: Draw) -> dict[str, Floats]:
                ladder = make_ladder(probability, is_positive, draw.weight_RN * answered)
                return {**measure(draw), ANSWERED: area_under_roc(ladder)}

            return with_answered

        return MAIN_OF_RISK, np.arange(len(is_positive)), of_risk

    def of_retrieval(arrays: Mapping[str, Floats]) -> Metrics:
        plain = ranking_metrics(unpack_ranking(arrays, PLAIN))
        corrected = ranking_metrics(unpack_ranking(arrays, CORRECTED))

        def both(draw: Draw) -> dict[str, Floats]:
            first, second = plain(draw), corrected(draw)
            return {key: first[key] for key in RANKING_METRICS} | {
                f"{key}_{CORRECTED}": second[key] for key in RANKING_METRICS
            }

        return both

    return MAIN_OF_RETRIEVAL, task.question.task.group_Q, of_retrieval


def _in_order(rows: Mapping[str, Row]) -> list[str]:
    """Return the methods family by family, each by name; a method after its candidate."""
    return sorted(rows, key=lambda name: (FAMILIES.index(rows[name].family), name))


def _row(
    name: str, one: Measured, comparison: Comparison, num_users: int, *, has_floor: bool
) -> Figures:
    whole = Draw(np.ones((1, num_users)), np.zeros(1))
    seeds = [measure(whole) for measure in one.by_seed]
    lead = comparison.differences.get(name, {}) if has_floor else {}
    return {
        "method": name,
        "candidate": one.rows[0].candidate,
        "family": one.rows[0].family,
        "seeds": [row.seed for row in one.rows],
        "fit_seconds": _mean([row.fit_seconds for row in one.rows]),
        "seconds": _mean([row.seconds for row in one.rows]),
        "metrics": {
            key: _rounded(estimate) | {"by_seed": [round(float(each[key][0]), 5) for each in seeds]}
            for key, estimate in comparison.metrics[name].items()
        },
        "lead_on_best_floor": {key: _rounded(_negated(gap)) for key, gap in lead.items()},
    }


def _lead_on_unaltered(
    name: str,
    measured: Mapping[str, Measured],
    altered_from: Mapping[str, str],
    group_N: Int64s,
    config: EvaluationConfig,
) -> Figures:
    """Return the difference to the same method of the unaltered candidate, seed by seed."""
    candidate = measured[name].rows[0].candidate
    if candidate not in altered_from:
        return {}
    origin = altered_from[candidate] + name.removeprefix(candidate)
    if origin not in measured:
        return {}
    seeds = measured[name].seeds & measured[origin].seeds
    if not seeds:
        return {}
    altered, unaltered = (measured[each].of_seeds(seeds) for each in (name, origin))
    compared = compare(
        {"altered": altered.mean, "unaltered": unaltered.mean},
        num_users=len(group_N),
        config=config,
        group_N=group_N,
    )
    whole = Draw(np.ones((1, len(group_N))), np.zeros(1))
    gaps = [
        {key: float(value[0] - before(whole)[key][0]) for key, value in after(whole).items()}
        for after, before in zip(altered.by_seed, unaltered.by_seed, strict=True)
    ]
    lead = {
        key: _rounded(gap) | {"by_seed": [round(each[key], 5) for each in gaps]}
        for key, gap in compared.differences["unaltered"].items()
    }
    return {"altered_from": origin, "lead_on_unaltered": lead}


def _negated(estimate: Estimate) -> Estimate:
    low = None if estimate.high is None else -estimate.high
    high = None if estimate.low is None else -estimate.low
    return Estimate(-estimate.value, low, high)


def _rounded(estimate: Estimate) -> Figures:
    return {
        key: None if value is None else round(value, 5) for key, value in estimate.to_dict().items()
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 2)
