"""The choice of what finds neighbors among everyone, made by the build and told in its manifest.

Exact search is taken while a query stays within the time allowed. Else the cheapest index to build
is tuned first: an inverted file of bits takes a tenth of a graph's time to build and answers about
as fast. Where it misses the target, or takes more than a tenth of an exact query's time, as with
few and wide vectors, a graph is tried too and the quicker one taken. Where none reaches the target,
all search is exact: slow, and right.

Shape key: `N` stored vectors.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from index.approximate import ApproximateIndex, LocalKind
from index.choice import Candidate, Choice
from index.config import IndexConfig
from index.distinct import Entries
from index.exact import ExactIndex
from index.hnsw import HnswIndex
from index.ivf import REFINE_MAX, REFINE_WIDER, InvertedFile
from index.kinds import build_index, effort_at_10_of, effort_max, reach_of
from index.newcomers import tune_graph
from index.questions import DEPTHS, Questions, ask
from index.reach import with_least_reach
from index.tuning import (
    FAR,
    FIRST_QUERIES,
    GAIN_MIN,
    TIMED_QUERIES,
    Quality,
    mean_to_prove,
    microseconds,
    quality_if_reached,
    quality_of,
    reaches,
    recall_of,
    tune,
)

AUTO_KINDS: tuple[LocalKind, ...] = ("ivf_rabitq", "hnsw")
EXACT_TIMED = 7
IN_MILVUS = "the settings name Milvus"
QUICK_SHARE = 0.1
"""Of an exact query's time: who is that quick needs no other kind to be tried."""


@dataclass(frozen=True)
class Chosen:
    """An index, None for exact search, and why."""

    approximate: ApproximateIndex | None
    choice: Choice


def choose_index(exact: ExactIndex, entries: Entries, config: IndexConfig) -> Chosen:
    """Build what `config.kind` names, or what this gallery needs on this machine.

    Nothing is built where Milvus takes the vectors: they are loaded there later.
    """
    if config.backend == "milvus":
        return Chosen(None, Choice(reason=IN_MILVUS))
    num_users = exact.num_vectors
    if config.kind == "exact":
        return Chosen(None, Choice(reason="the settings name exact search"))
    if config.kind == "auto" and num_users <= config.exact_up_to:
        reason = f"{num_users:,} users are no more than the {config.exact_up_to:,} of exact_up_to"
        return Chosen(None, Choice(reason=reason))
    generator = np.random.default_rng([config.seed, config.tuning_queries])
    exact_ms = _exact_milliseconds(exact, generator)
    if config.kind == "auto" and exact_ms <= config.exact_budget_ms:
        reason = f"an exact query takes {exact_ms:.2g} ms of {config.exact_budget_ms:g} allowed"
        return Chosen(None, Choice(reason=reason, exact_milliseconds=exact_ms))
    many = replace(exact, num_threads=config.build_threads)
    questions = ask(many, num=config.tuning_queries, generator=generator)
    if config.kind != "auto":
        index, candidate = _tried(config.kind, exact, entries, questions, config)
        reason = f"the settings name {config.kind}"
        return Chosen(
            index, Choice(reason=reason, exact_milliseconds=exact_ms, candidates=(candidate,))
        )
    return _quickest(exact, entries, questions, config, exact_ms)


def tune_loaded(
    exact: ExactIndex, loaded: ApproximateIndex, config: IndexConfig, *, build_seconds: float
) -> Chosen:
    """Tune an index that a server holds as one that was built here, and tell what it showed.

    Args:
        exact: Gives the true answers.
        loaded: The index on the server.
        config: What to tune for.
        build_seconds: How long it took to load.
    """
    generator = np.random.default_rng([config.seed, config.tuning_queries])
    exact_ms = _exact_milliseconds(exact, generator)
    questions = ask(exact, num=config.tuning_queries, generator=generator)
    index, candidate = _shown(exact, loaded, questions, config, build_seconds)
    choice = Choice(reason=IN_MILVUS, exact_milliseconds=exact_ms, candidates=(candidate,))
    return Chosen(index, choice)


def _exact_milliseconds(exact: ExactIndex, generator: np.random.Generator) -> float:
    num_users = exact.num_vectors
    drawn = np.sort(generator.choice(num_users, min(num_users, EXACT_TIMED), replace=False))
    return round(microseconds(exact, exact.vectors_ND[drawn]) / 1e3, 3)


def _quickest(
    exact: ExactIndex,
    entries: Entries,
    questions: Questions,
    config: IndexConfig,
    exact_ms: float,
) -> Chosen:
    """Take the first kind that reaches the target by far quicker than exact search, or the best."""
    candidates: list[Candidate] = []
    best: ApproximateIndex | None = None
    best_us = 1e3 * exact_ms
    for kind in AUTO_KINDS:
        index, candidate = _tried(kind, exact, entries, questions, config)
        candidates.append(candidate)
        if candidate.reached and candidate.microseconds < best_us:
            best, best_us = index, candidate.microseconds
        if best_us <= QUICK_SHARE * 1e3 * exact_ms:
            break
    if best is None:
        tried = " nor ".join(AUTO_KINDS)
        reason = f"neither {tried} reaches the target in less time than exact search"
    else:
        reason = (
            f"an exact query takes {exact_ms:.2g} ms of {config.exact_budget_ms:g} allowed; "
            f"{best.inner.kind} reaches the target in {best_us / 1e3:.2g} ms"
        )
    choice = Choice(reason=reason, exact_milliseconds=exact_ms, candidates=tuple(candidates))
    return Chosen(best, choice)


def _tried(
    kind: LocalKind,
    exact: ExactIndex,
    entries: Entries,
    questions: Questions,
    config: IndexConfig,
) -> tuple[ApproximateIndex, Candidate]:
    """Build and tune one kind."""
    begin = time.perf_counter()
    built = build_index(kind, exact, entries, config, untrained=questions.stored_rows)
    if isinstance(built.inner, InvertedFile):  # hardly a centroid was learned from who is asked
        questions = replace(questions, are_newcomers=True)
    return _shown(exact, built, questions, config, time.perf_counter() - begin)


def _shown(
    exact: ExactIndex,
    built: ApproximateIndex,
    questions: Questions,
    config: IndexConfig,
    build_seconds: float,
) -> tuple[ApproximateIndex, Candidate]:
    """Tune what was built, and tell what it showed."""
    begin = time.perf_counter()
    index, quality = _tuned(exact, built, questions, config)
    tuning_seconds = time.perf_counter() - begin
    inner = index.inner
    timed = questions.part(TIMED_QUERIES).query_QD
    return index, Candidate(
        kind=inner.kind,
        effort=inner.effort,
        effort_at_10=effort_at_10_of(inner),
        refine=inner.refine,
        reach=reach_of(inner),
        recall_at_10=quality.recall[10],
        recall_at_10_bound=quality.recall_bound[10],
        recall_at_100=quality.recall[100],
        recall_at_100_bound=quality.recall_bound[100],
        num_queries=quality.num_queries,
        num_poor=quality.num_poor,
        poor_share_bound=quality.poor_bound,
        microseconds=round(microseconds(index, timed), 1),
        build_seconds=round(build_seconds, 2),
        tuning_seconds=round(tuning_seconds, 2),
        reached=reaches(quality, config),
    )


def _tuned(
    exact: ExactIndex, built: ApproximateIndex, questions: Questions, config: IndexConfig
) -> tuple[ApproximateIndex, Quality]:
    """Tune the effort, and of lists also what makes them quicker at the same target.

    Codes that can't tell neighbors apart, in however many lists they are looked for, are not tuned
    unless the settings name them: then they are to find what they can.
    """
    most = effort_max(built.inner, config)
    if isinstance(built.inner, HnswIndex):
        return tune_graph(exact, built, questions, config, effort_max=most)
    if not isinstance(built.inner, InvertedFile):
        return tune(exact, built, questions, config, effort_max=most)
    if built.inner.refine > 1:
        built, found = _scored_enough(exact, built, questions, config)
        if found < config.recall_target - FAR and config.kind == "auto":
            index, few = built.with_effort(most), questions.part(FIRST_QUERIES)
            return index, quality_of(exact, index, few, confidence=config.confidence)
    index, quality = tune(exact, built, questions, config, effort_max=most)
    if built.inner.refine > 1:
        index, quality = _scored_again(exact, built, (index, quality), questions, config)
    if not reaches(quality, config):
        return index, quality
    index, quality = with_least_reach(exact, index, [questions], config) or (index, quality)
    return _narrowed(exact, index, quality, questions, config)


def _scored_enough(
    exact: ExactIndex, built: ApproximateIndex, questions: Questions, config: IndexConfig
) -> tuple[ApproximateIndex, float]:
    """Return lists of codes with as many candidates as the target needs where all lists are read.

    Some of the queries tell, and the recall that they have comes with it. No more candidates are
    taken than find more.
    """
    few, lists = questions.part(FIRST_QUERIES), built.inner
    assert isinstance(lists, InvertedFile)
    aim = mean_to_prove(config.recall_target, questions, config.confidence)
    best, most_found = built, -1.0
    while True:
        found = min(
            few.mean_of(recall_of(exact, built, few, k=k, effort=lists.effort_max)) for k in DEPTHS
        )
        if found < most_found + GAIN_MIN:
            return best, most_found
        best, most_found = built, found
        refine = built.inner.refine * REFINE_WIDER
        if found >= aim or refine > REFINE_MAX:
            return best, most_found
        built = _refined(built, refine)


def _scored_again(
    exact: ExactIndex,
    built: ApproximateIndex,
    tuned: tuple[ApproximateIndex, Quality],
    questions: Questions,
    config: IndexConfig,
) -> tuple[ApproximateIndex, Quality]:
    """Score more candidates again while the target is missed and that helps."""
    most = effort_max(built.inner, config)
    index, quality = tuned
    refine = built.inner.refine
    while not reaches(quality, config) and refine * REFINE_WIDER <= REFINE_MAX:
        refine *= REFINE_WIDER
        before, wider = quality, _refined(built, refine)
        index, quality = tune(exact, wider, questions, config, effort_max=most)
        if not quality.is_better_than(before):
            break  # what is missed is in lists that aren't probed
    return index, quality


def _narrowed(
    exact: ExactIndex,
    index: ApproximateIndex,
    quality: Quality,
    questions: Questions,
    config: IndexConfig,
) -> tuple[ApproximateIndex, Quality]:
    """Halve the candidates scored again while the target is still reached."""
    while (refine := index.inner.refine // 2) > 1:
        narrower = _refined(index, refine)
        less = quality_if_reached(exact, narrower, questions, config)
        if less is None:
            break
        index, quality = narrower, less
    return index, quality


def _refined(index: ApproximateIndex, refine: int) -> ApproximateIndex:
    assert isinstance(index.inner, InvertedFile)
    return replace(index, inner=index.inner.with_refine(refine))
