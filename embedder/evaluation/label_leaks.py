"""Fields that betray the label: single columns that tell the class of users of equal age.

Two ways of telling are looked for: a sign (`embedder.evaluation.label_signs`), and a naive Bayes
classifier, cross-validated, on all values of one column in the first K events of users who made K.

Shape key: `B` users, `V` values (codes), `P` pairs of both, `F` folds.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.field_values import FieldValues, field_values
from embedder.evaluation.intervals import estimate_area
from embedder.evaluation.label_signs import (
    BETRAYS_MAX,
    SHOWN_MIN,
    Pairs,
    Sight,
    Sign,
    find_pairs,
    find_signs,
    sights,
)
from embedder.evaluation.leak_checks import RISK_TASKS, Finding, Verdict, at_most, unknown
from embedder.evaluation.metrics import Flags, Floats, Int64s
from store.schema import EventSchema
from store.sequences import SequenceBatch

LABEL_FIELDS = "label_fields"
MEASURES = "largest AUC of a single column, at the first events of users who made as many"
AREA_BETRAYS_MIN, AREA_SUSPECT_MIN = 0.95, 0.9
FOLDS = 5
SMOOTHING = 1.0


@dataclass(frozen=True)
class FieldReport:
    """What one column tells of the label.

    Attributes:
        name: The column.
        area: Largest AUC among the first events; None where too few users made enough of them.
        area_seen_in: At which.
        sign: The most telling sign that is not acknowledged; None where there is none.
        acknowledged: What the operator says is known and meant.
    """

    name: str
    area: Estimate | None
    area_seen_in: str
    sign: Sign | None
    acknowledged: tuple[str, ...]

    @property
    def betrays(self) -> bool:
        """Whether the column alone is as good as the label."""
        return self._area_from(AREA_BETRAYS_MIN) or (self.sign is not None and self.sign.betrays)

    @property
    def is_suspect(self) -> bool:
        """Whether a person should look at it."""
        return self._area_from(AREA_SUSPECT_MIN) or (self.sign is not None and self.sign.is_suspect)

    def _area_from(self, least: float) -> bool:
        """Say whether the area is surely so large; a column acknowledged as a whole never is."""
        if self.area is None or self.area.low is None or self.name in self.acknowledged:
            return False
        return self.area.low >= least

    def lines(self) -> list[str]:
        """Return what is to be seen of it, in sentences."""
        lines = []
        if self.betrays or self.is_suspect:
            if self.sign is not None and self.sign.is_suspect:
                lines.append(f"{self.name} {self.sign.text}")
            if self._area_from(AREA_SUSPECT_MIN) and self.area is not None:
                lines.append(f"{self.name}: AUC {self.area.value:.3f} in {self.area_seen_in}")
        return [*lines, *(f"acknowledged: {text}" for text in self.acknowledged)]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        sign = self.sign
        return {
            "name": self.name,
            "auc": None if self.area is None else self.area.to_dict(),
            "auc_seen_in": self.area_seen_in,
            "betrays": self.betrays,
            "sign": sign
            and {
                "value": sign.value,
                "is_absence": sign.is_absence,
                "of": "violators" if sign.of_violators else "others",
                "seen_in": sign.seen_in,
                "shown": sign.shown.to_dict(),
                "wrong": sign.wrong.to_dict(),
            },
            "acknowledged": list(self.acknowledged),
        }


def judge_label_fields(
    batch: SequenceBatch, schema: EventSchema, is_violator_B: Flags, config: EvaluationConfig
) -> Finding:
    """Fail where a single column betrays the label and nobody acknowledged that.

    A sign betrays when half of a class shows it and two in a hundred of the other class at most, of
    the same age: whoever shows it is 25 times as likely of the one class. The strongest behavior of
    a class that is known to be simulated honestly is shown by 41 % and 8 % of the others. An AUC of
    .95 from one column is what good models reach from all columns together.

    Args:
        batch: Labelled users, their events before the violation.
        schema: Roles of the columns; ignored ones are not looked at.
        is_violator_B: Their labels.
        config: Numbers of first events, confidence, what is acknowledged.
    """
    smaller = min(int(is_violator_B.sum()), int((~is_violator_B).sum()))
    if smaller < config.min_positives:
        reason = f"only {smaller} users of one class; {config.min_positives} are needed"
        return unknown(LABEL_FIELDS, MEASURES, reason, RISK_TASKS)
    seen = [sight for sight in sights(batch, config) if _suffices(sight, is_violator_B, config)]
    reports = [
        examine(field, batch, is_violator_B, seen, config) for field in field_values(batch, schema)
    ]
    return _finding(reports, num_users=batch.num_users)


def examine(
    field: FieldValues,
    batch: SequenceBatch,
    is_violator_B: Flags,
    seen: Iterable[Sight],
    config: EvaluationConfig,
) -> FieldReport:
    """Look at one column in every way."""
    known = frozenset(_plain(entry) for entry in config.acknowledged_leaks)
    areas: list[tuple[Estimate, str]] = []
    signs: list[Sign] = []
    for sight in seen:
        pairs = find_pairs(field, batch, sight)
        found = find_signs(field, pairs, is_violator_B, sight, confidence=config.confidence)
        signs += found
        if sight.first_events is not None:
            meant = {sign.code for sign in found if _is_known(field.name, sign, known)}
            others_P = pairs.without(np.array(sorted(meant), dtype=np.int64))
            areas.append((area_of_field(others_P, is_violator_B, sight, config), sight.text))
    signs.sort(key=lambda sign: sign.rank, reverse=True)
    others = [sign for sign in signs if not _is_known(field.name, sign, known)]
    is_known = _plain(field.name) in known
    acknowledged = {field.name: field.name} if is_known else {}
    for sign in signs:
        if sign.is_suspect and _is_known(field.name, sign, known):
            acknowledged.setdefault(sign.value, f"{field.name} {sign.text}")
    area, seen_in = max(areas, key=lambda pair: pair[0].value, default=(None, ""))
    return FieldReport(
        field.name,
        area,
        seen_in,
        others[0] if others else None,
        tuple(acknowledged.values()),
    )


def area_of_field(
    pairs: Pairs, is_violator_B: Flags, sight: Sight, config: EvaluationConfig
) -> Estimate:
    """Return the AUC of a cross-validated naive Bayes classifier on who has what."""
    compared_B = sight.stratum_B >= 0
    rng = np.random.default_rng([config.seed, int(compared_B.sum())])
    fold_B: Int64s = (rng.permutation(len(compared_B)) % FOLDS).astype(np.int64)
    odds_FV = _log_odds(pairs, fold_B, is_violator_B & compared_B, ~is_violator_B & compared_B)
    odds_P = odds_FV[fold_B[pairs.user_P], pairs.code_P]
    summed_B = np.bincount(pairs.user_P, odds_P, minlength=len(compared_B))
    score_B: Floats = summed_B.astype(np.float64)
    return estimate_area(
        score_B[compared_B], is_violator_B[compared_B], confidence=config.confidence
    )


def _log_odds(pairs: Pairs, fold_B: Int64s, violators_B: Flags, others_B: Flags) -> Floats:
    """Return the log likelihood ratio of each value, learned without the users of each fold.

    Smoothed towards the classes' sizes, so that a value never seen says nothing.
    """
    logs_FV = []
    smoothing = SMOOTHING / int((violators_B | others_B).sum())
    for chosen_B in (violators_B, others_B):
        kept = chosen_B[pairs.user_P]
        flat = fold_B[pairs.user_P[kept]] * pairs.num_codes + pairs.code_P[kept]
        num_FV = np.bincount(flat, minlength=FOLDS * pairs.num_codes)
        num_FV = num_FV.reshape(FOLDS, pairs.num_codes)
        num_F = np.bincount(fold_B[chosen_B], minlength=FOLDS)
        left_F = np.maximum(num_F.sum() - num_F, 1)[:, None]
        logs_FV.append(np.log((num_FV.sum(axis=0) - num_FV) / left_F + smoothing))
    odds_FV: Floats = logs_FV[0] - logs_FV[1]
    return odds_FV


def _finding(reports: list[FieldReport], *, num_users: int) -> Finding:
    reports = sorted(reports, key=lambda one: (one.betrays, one.is_suspect), reverse=True)
    betraying = [report.name for report in reports if report.betrays]
    suspect = [report.name for report in reports if report.is_suspect or report.acknowledged]
    areas = [report.area for report in reports if report.area is not None]
    names = ", ".join(betraying)
    details = [line for report in reports for line in report.lines()]
    return Finding(
        LABEL_FIELDS,
        Verdict.FAIL if betraying else Verdict.WARN if suspect else Verdict.PASS,
        MEASURES,
        max(areas, key=lambda area: area.value, default=None),
        f"fail from {AREA_BETRAYS_MIN:g}, or at a sign ({SHOWN_MIN:.0%} against {BETRAYS_MAX:.0%})",
        "find out how the column tells; then ignore it ([schema.roles]), leave such events out, or "
        "name it, or COLUMN=VALUE, in [evaluate] acknowledged_leaks",
        RISK_TASKS,
        counts={"users": num_users, "columns": len(reports), "betraying": len(betraying)},
        details=at_most([f"{names} betray the label", *details] if betraying else details),
        rows=tuple(report.to_dict() for report in reports),
    )


def _suffices(sight: Sight, is_violator_B: Flags, config: EvaluationConfig) -> bool:
    """Say whether enough users of both classes are compared."""
    compared_B = sight.stratum_B >= 0
    num_violators = int((compared_B & is_violator_B).sum())
    smaller = min(num_violators, int(compared_B.sum()) - num_violators)
    return smaller >= config.min_positives


def _is_known(name: str, sign: Sign, known: Collection[str]) -> bool:
    return _plain(name) in known or _plain(f"{name}{sign.value}") in known


def _plain(entry: str) -> str:
    """Return an entry without spaces, so that `page = x` is `page=x`."""
    return "".join(entry.split())
