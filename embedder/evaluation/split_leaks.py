"""Where the split of users into past and future is easily misread: lengths, persons, young labels.

None of these is a leak: the product will know them too. They are warnings.

Shape key: `N` users, `R` test users, `P` users who were violators and are no test users.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.early_risk import ALL_EVENTS, DAY_US, TimeSplit, why_no_split
from embedder.evaluation.intervals import estimate_area, estimate_share
from embedder.evaluation.leak_checks import (
    RISK_TASKS,
    Finding,
    LeakAudit,
    Verdict,
    percent,
    unknown,
)
from embedder.evaluation.metrics import Flags, Floats, Int64s
from embedder.evaluation.results import TaskResult

LENGTH, PERSONS, YOUNG = "length_shortcut", "same_person_pairs", "immature_benign"
LENGTH_AREA_MAX = 0.6
KNOWN_PERSONS_MAX = 0.05
CAUGHT_SHARE, YOUNG_MAX = 0.8, 0.2
CAUGHT_SHARE_MIN = 0.05


def judge_length(num_events_R: Int64s, split: TimeSplit, config: EvaluationConfig) -> Finding:
    """Warn where the number of events alone tells the classes apart.

    Who stopped before K events shows fewer than K. An area of .6 is a fifth of the way from chance
    to certainty; below it, little of a useful figure can be length.

    Args:
        num_events_R: Events of each test user before the violation.
        split: The test users.
        config: Says at which numbers of events risk is measured.
    """
    measures = "AUC of the number of events alone, at the number where it tells most"
    reason = why_no_split(split, config)
    if reason is not None:
        return unknown(LENGTH, measures, reason, RISK_TASKS)
    rows, areas = [], []
    for prefix in (*config.prefixes, None):
        shown_R = num_events_R if prefix is None else np.minimum(num_events_R, prefix)
        area = _either_way(
            estimate_area(
                -shown_R.astype(np.float64), split.is_positive_test, confidence=config.confidence
            )
        )
        areas.append(area)
        stopped_R = num_events_R < (prefix or 0)
        rows.append(
            {
                "first_events": ALL_EVENTS if prefix is None else prefix,
                "auc": area.to_dict(),
                "stopped_before": _shares(stopped_R, split.is_positive_test, config.confidence),
            }
        )
    worst = max(areas, key=lambda area: area.value)
    return Finding(
        LENGTH,
        Verdict.WARN if worst.low is not None and worst.low > LENGTH_AREA_MAX else Verdict.PASS,
        measures,
        worst,
        f"warn where surely above {LENGTH_AREA_MAX:g}",
        "compare with the AUC of the risk: what length explains is no likeness of behavior",
        RISK_TASKS,
        counts={"users": len(split.test)},
        details=tuple(
            f"{row['first_events']} events: AUC {area.value:.3f} by their number alone"
            for row, area in zip(rows, areas, strict=True)
        ),
        rows=tuple(rows),
    )


def judge_persons(
    group: Sequence[str | None], first_us_N: Int64s, split: TimeSplit, *, confidence: float
) -> Finding:
    """Warn where persons or rings of before the cut are tested again after it.

    To recognise them is what the product is for, but it is not how it fares with strangers. Were
    a share s of the violators known and all others not seen at all, the AUC would be (1 + s) / 2;
    below one in twenty that is within what chance moves the figures by.

    Args:
        group: Known ring or person of each user, or None.
        first_us_N: First event of each user.
        split: The test users.
        confidence: Coverage of the interval.
    """
    measures = "share of the test violators with somebody of the same group before the cut"
    named_N = np.array([bool(name) for name in group], dtype=np.bool_)
    positive_R = split.is_positive_test
    if not named_N.any() or not positive_R.any():
        reason = "no label names a group" if not named_N.any() else "no violator is tested"
        return unknown(PERSONS, measures, reason, RISK_TASKS)
    code_N = np.unique([name or "" for name in group], return_inverse=True)[1]
    earlier = np.unique(code_N[named_N & (first_us_N < split.cut_us)])
    known_R = named_N[split.test] & np.isin(code_N[split.test], earlier)
    figure = estimate_share(
        known_R[positive_R].astype(float), np.ones(int(positive_R.sum())), confidence=confidence
    )
    num_named = int(named_N[split.test][positive_R].sum())
    return Finding(
        PERSONS,
        Verdict.WARN if figure.value > KNOWN_PERSONS_MAX else Verdict.PASS,
        measures,
        figure,
        f"warn above {KNOWN_PERSONS_MAX:g}",
        "read the risk as that of strangers and of returning ones together",
        RISK_TASKS,
        counts={
            "test_violators": int(positive_R.sum()),
            "with_a_group": num_named,
            "of_a_group_seen_before": int((known_R & positive_R).sum()),
            "groups_on_both_sides": len(np.unique(code_N[split.test][known_R])),
        },
        details=(
            f"{percent(figure)} of the test violators are of a group seen before the cut; "
            f"{num_named:,} of {int(positive_R.sum()):,} have a known group at all",
        ),
    )


def judge_maturity(
    delay_us_P: Int64s, age_us_R: Int64s, split: TimeSplit, *, confidence: float
) -> Finding:
    """Warn where many benign test users are younger than violators grow before they are caught.

    Of the violators a fifth are free at the age by which most are caught. Where more than a fifth
    of the benign are younger than that, their label says little more than that they are new.

    Args:
        delay_us_P: From the first event of earlier violators to the time they were known.
        age_us_R: From the first event of each test user to the end of the data.
        split: The test users.
        confidence: Coverage of the interval.
    """
    measures = "share of the benign test users younger than the age by which most are caught"
    benign_R = ~split.is_positive_test
    if not len(delay_us_P) or not benign_R.any():
        return unknown(
            YOUNG, measures, "no violator has a time, or nobody benign is tested", RISK_TASKS
        )
    grown_us = float(np.quantile(delay_us_P, CAUGHT_SHARE))
    young_R = age_us_R < grown_us
    figure = estimate_share(
        young_R[benign_R].astype(float), np.ones(int(benign_R.sum())), confidence=confidence
    )
    num_hidden = expected_uncaught(delay_us_P, age_us_R[split.is_positive_test])
    positives, everyone = int(split.is_positive_test.sum()), len(split.test)
    num_hidden = min(num_hidden, float(benign_R.sum()))
    return Finding(
        YOUNG,
        Verdict.WARN if figure.value > YOUNG_MAX else Verdict.PASS,
        measures,
        figure,
        f"warn above {YOUNG_MAX:g}",
        "choose an earlier --cut, or wait: probabilities and precision are measured against too "
        "few violators",
        RISK_TASKS,
        counts={
            "benign": int(benign_R.sum()),
            "young_benign": int((young_R & benign_R).sum()),
            "violators": positives,
            "violators_yet_to_be_caught": round(num_hidden),
        },
        details=(
            f"{CAUGHT_SHARE:.0%} of earlier violators were known within "
            f"{grown_us / DAY_US:.1f} days; {percent(figure)} of the benign test users are younger",
            f"by the pace of earlier ones some {num_hidden:,.0f} of the benign may yet be caught: "
            f"violators {positives / everyone:.1%} as labelled, "
            f"{(positives + num_hidden) / everyone:.1%} as expected",
        ),
    )


def expected_uncaught(delay_us_P: Int64s, age_us: Int64s) -> float:
    """Return how many violators as old as these are expected to be still unknown.

    Each known one of an age at which a share F is caught stands for 1 / F; F is at least .05.
    """
    ranked = np.sort(delay_us_P)
    caught = np.searchsorted(ranked, age_us, "right") / len(ranked)
    return float((1.0 / np.maximum(caught, CAUGHT_SHARE_MIN) - 1.0).sum())


def note_length(task: TaskResult, audit: LeakAudit) -> TaskResult:
    """Add to a risk's figures how much of them the number of events alone explains."""
    if task.comparison is None:
        return task
    area = _area_of_length(task.name, audit)
    if area is None:
        return task
    main = next(iter(task.comparison.metrics))
    risk = task.comparison.metrics[main]["auc"].value
    share = explained_share(area, task.extra.get(f"auc_with_unanswered.{main}", risk))
    text = f"the number of events alone has AUC {area:.3f}: {share:.0%} of what {main} has above .5"
    extra = {**task.extra, "auc_of_length": area, "explained_by_length": share}
    return replace(task, notes=(*task.notes, text), extra=extra)


def _area_of_length(task: str, audit: LeakAudit) -> float | None:
    for finding in audit.findings:
        for row in finding.rows if finding.name == LENGTH else ():
            if task == f"{RISK_TASKS[0]}{row['first_events']}":
                return float(row["auc"]["value"])
    return None


def explained_share(length: float, risk: float) -> float:
    """Return which share of a risk's AUC above chance the AUC of the length has, in [0, 1]."""
    return float(np.clip((length - 0.5) / max(risk - 0.5, 1e-9), 0.0, 1.0))


def _either_way(area: Estimate) -> Estimate:
    """Return the area of the better of both orders."""
    if area.value >= 0.5 or area.low is None or area.high is None:
        return area
    return Estimate(1 - area.value, 1 - area.high, 1 - area.low)


def _shares(stopped_R: Flags, is_positive_R: Flags, confidence: float) -> dict[str, object]:
    """Return which share of each class stopped."""
    named = {"violators": stopped_R[is_positive_R], "benign": stopped_R[~is_positive_R]}
    return {
        name: estimate_share(_ones(part), np.ones(len(part)), confidence=confidence).to_dict()
        for name, part in named.items()
    }


def _ones(flags: Flags) -> Floats:
    return flags.astype(np.float64)
