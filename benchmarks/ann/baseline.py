"""Whether a method became slower or worse than in an earlier result.

Machines differ, so speeds are compared as ratios to FAISS's flat search of the same repeat. The
ratios of a method's settings are averaged (geometric mean) for each repeat; it is slower where even
its best repeat is below the worst of the earlier result, by more than a tenth at the median. Recall
does not depend on the machine: it is worse where a setting lost more than a hundredth.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.ann.figures import KS
from benchmarks.ann.methods import FLAT
from benchmarks.ann.rows import WHY_NOT
from jobs.errors import UsageError

SLOWER_MIN, RECALL_LOST_MAX, FAILED_MORE_MAX = 0.1, 0.01, 0.005
SAME_DATA = ("num_vectors", "dim", "num_queries")

Result = Mapping[str, Any]


def read_results(path: Path) -> list[Result]:
    """Return the results of a file.

    Raises:
        UsageError: If it is no result of this benchmark.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["theme"] != "ann":
            raise KeyError(result["theme"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no result of lookalike bench ann: {error}") from error
    return [result]


def regressions(earlier: Sequence[Result], now: Sequence[Result]) -> list[str]:
    """Return a sentence for each method that became slower or worse.

    Raises:
        UsageError: If no data set is in both.
    """
    known = {result["data"]: result for result in earlier}
    found, num_compared = [], 0
    for result in now:
        before = known.get(result["data"])
        if before is None or _data(before) != _data(result):
            continue
        num_compared += 1
        methods = {method["name"]: method for method in before["methods"]}
        for method in result["methods"]:
            if method["name"] in methods:
                where = f"{result['data']}: {method['name']}"
                was = methods[method["name"]]
                found += [f"{where} {lost}" for lost in _worse(was, method)]
                slower = _slower(ratios(before, was), ratios(result, method))
                found += [f"{where} {slower}"] if slower else []
    if not num_compared:
        raise UsageError("the baseline has none of the data sets measured now")
    return found


def ratios(result: Result, method: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the speed of each setting as a share of the flat search's, by repeat."""
    flat = next((one for one in result["methods"] if one["name"] == FLAT), None)
    found: dict[str, list[float]] = {}
    for k in KS:
        points = flat["frontier"][str(k)] if flat else []
        if not points or WHY_NOT in points[0]:
            continue
        reference = points[0]["qps"]["all"]
        for point in method["frontier"][str(k)]:
            if WHY_NOT not in point:
                pairs = zip(point["qps"]["all"], reference, strict=False)
                found[f"{point['setting']}, {k}"] = [speed / unit for speed, unit in pairs]
    return found


def _slower(before: Mapping[str, Sequence[float]], now: Mapping[str, Sequence[float]]) -> str:
    """Say how much slower the settings of both are, an empty string where they are not."""
    both = sorted(set(before) & set(now))
    if not both:
        return ""
    was, is_now = (_by_repeat([ratio[name] for name in both]) for ratio in (before, now))
    lost = 1 - median(is_now) / median(was)
    if max(is_now) < min(was) and lost > SLOWER_MIN:
        return f"is {lost:.0%} slower: {median(is_now):.3f} times {FLAT}, was {median(was):.3f}"
    return ""


def _by_repeat(ratios: Sequence[Sequence[float]]) -> list[float]:
    """Return the geometric mean over settings, for each repeat that all have."""
    repeats = min(len(each) for each in ratios)
    return [
        float(np.exp(fmean(np.log(each[repeat]) for each in ratios))) for repeat in range(repeats)
    ]


def _worse(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what was lost of recall, and what more failed, setting by setting."""
    lost = []
    for k in KS:
        earlier = {point["setting"]: point for point in before["frontier"][str(k)]}
        for point in now["frontier"][str(k)]:
            was = earlier.get(point["setting"])
            if was is None or WHY_NOT in was:
                continue
            where = f"at {point['setting']}, {k} neighbors"
            if WHY_NOT in point:
                lost.append(f"has no answer {where}: {point[WHY_NOT]}")
            elif point["recall"] < was["recall"] - RECALL_LOST_MAX:
                lost.append(f"has recall {point['recall']:.4f} {where}, had {was['recall']:.4f}")
            elif point["failed"] > was["failed"] + FAILED_MORE_MAX:
                lost.append(f"fails {point['failed']:.2%} {where}, failed {was['failed']:.2%}")
    return lost


def _data(result: Result) -> tuple[object, ...]:
    return (result["seed"], *(result["about"][name] for name in SAME_DATA))
