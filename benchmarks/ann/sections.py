"""What is measured of the methods of a data set, section by section.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.ann.bench import Bench, Facts, Task
from benchmarks.ann.config import QUICK_EFFORTS
from benchmarks.ann.data import VARIANTS, DataSet, with_copies
from benchmarks.ann.engines.engine import Ids
from benchmarks.ann.figures import KS, chosen_setting, frontier, setting_key
from benchmarks.ann.methods import EF, Effort, Method, effort_name
from benchmarks.ann.recall import Floats, recall_of
from benchmarks.ann.rows import WHY_NOT

K, BATCH = 10, 256
ENOUGH_RECALL = 0.9995  # wider settings than this could only be slower
SEARCH_THREADS = (1, 2, 4)
CONCURRENCY_SHARE = 0.25  # of the most seconds of a measurement
UPDATED_SHARE, UPDATED_MAX = 0.1, 10_000
UPDATES_SEED = 7


def measure_sections(bench: Bench, methods: Sequence[Method]) -> None:
    """Measure all sections that the config names; the frontier comes first, for others use it."""
    for section in dict.fromkeys(("frontier", *bench.config.sections)):
        MEASURES[section](bench, methods)


def measure_frontier(bench: Bench, methods: Sequence[Method]) -> None:
    """Measure single queries at all settings, for both numbers of neighbors.

    The passes share the builds: graphs that several threads make differ from one to the next.
    """
    for number in range(bench.config.builds):
        build = f" of build {number + 1}" if bench.config.builds > 1 else ""
        bench.report(f"{bench.data.name}: frontier{build}")
        tasks = partial(_frontier_tasks, bench, number)
        bench.measure_in_turns("frontier", methods, tasks, number=number)


def measure_batch(bench: Bench, methods: Sequence[Method]) -> None:
    """Measure batches with all threads, at the chosen setting."""
    bench.report(f"{bench.data.name}: batches")

    def tasks(method: Method) -> list[Task]:
        answers = bench.answers_file(method)
        arguments = _arguments(bench, method, answers) | {"batch": BATCH}
        judge = partial(_judged, bench.data, bench.data.truth, answers, K)
        return [
            Task((repeat,), str(repeat), "batch", arguments, judge)
            for repeat in range(bench.config.repeats)
        ]

    bench.measure_in_turns("batch", _answering(bench, methods), tasks, threads=bench.config.threads)


def measure_concurrency(bench: Bench, methods: Sequence[Method]) -> None:
    """Measure several searching threads of one process, at the chosen setting."""
    bench.report(f"{bench.data.name}: concurrency")
    seconds = CONCURRENCY_SHARE * bench.config.measure_seconds

    def tasks(method: Method) -> list[Task]:
        arguments = _arguments(bench, method, None) | {"seconds": seconds}
        return [
            Task(
                (repeat, threads),
                f"{threads}.{repeat}",
                "threads",
                arguments | {"threads": threads},
            )
            for repeat in range(bench.config.repeats)
            for threads in SEARCH_THREADS
        ]

    bench.measure_in_turns("concurrency", _answering(bench, methods), tasks)


def measure_filters(bench: Bench, methods: Sequence[Method]) -> None:
    """Measure filtered searches once, at the chosen setting."""
    bench.report(f"{bench.data.name}: filters")

    def tasks(method: Method) -> list[Task]:
        answers = bench.answers_file(method)
        arguments = _arguments(bench, method, answers)
        return [
            Task(
                (number,),
                f"{number:02d}",
                "filtered",
                arguments | {"filter_number": number},
                partial(
                    _judged,
                    bench.data,
                    partial(bench.data.truth_of_filter, number),
                    answers,
                    K,
                ),
            )
            for number in range(bench.data.flags_NF.shape[1])
        ]

    bench.measure_in_turns("filters", _answering(bench, methods), tasks)


def measure_duplicates(bench: Bench, methods: Sequence[Method]) -> None:
    """Measure once with groups of identical vectors, at the chosen setting and the widest."""
    for variant in VARIANTS:
        copies = with_copies(bench.data, variant, seed=bench.config.seed)
        bench.report(f"{copies.name}")
        bench.measure_in_turns(
            "duplicates",
            _answering(bench, methods),
            partial(_copies_tasks, bench, copies, variant),
            data=copies,
        )


def measure_updates(bench: Bench, methods: Sequence[Method]) -> None:
    """Remove a tenth of the rows and add their vectors again, with searches between, once."""
    bench.report(f"{bench.data.name}: updates")
    num = len(bench.data.vectors_ND)
    take = min(UPDATED_MAX, round(num * UPDATED_SHARE))
    changed = np.random.default_rng(UPDATES_SEED).choice(num, take, replace=False)
    changed_file = bench.scratch / "changed.npy"
    np.save(changed_file, changed)

    def tasks(method: Method) -> list[Task]:
        without, again = (bench.answers_file(method, name) for name in ("without", "again"))
        arguments = _arguments(bench, method, None) | {
            "vectors": bench.data.vectors_file,
            "changed": changed_file,
            "without": without,
            "again": again,
        }
        judge = partial(_judged_updates, bench.data, changed, without, again)
        return [Task((0,), "updates", "updates", arguments, judge)]

    bench.measure_in_turns("updates", _answering(bench, methods), tasks, copied=True)


MEASURES: dict[str, Callable[[Bench, Sequence[Method]], None]] = {
    "frontier": measure_frontier,
    "batch": measure_batch,
    "concurrency": measure_concurrency,
    "filters": measure_filters,
    "duplicates": measure_duplicates,
    "updates": measure_updates,
}


def _efforts(bench: Bench, method: Method) -> Sequence[Effort]:
    """Return the settings that are measured: the first where it must be quick, of beams doubled."""
    if not bench.config.quick:
        return method.efforts
    return (EF[::2] if method.efforts is EF else method.efforts)[:QUICK_EFFORTS]


def _frontier_tasks(bench: Bench, build: int, method: Method) -> list[Task]:
    answers = bench.answers_file(method)
    efforts = _efforts(bench, method)
    return [
        Task(
            (repeat, number, k),
            setting_key(number, k, repeat),
            "measure",
            {
                "effort": dict(effort),
                "queries": bench.data.queries_file,
                "k": k,
                "seconds": bench.config.measure_seconds,
                "answers": answers,
            },
            partial(_judged, bench.data, bench.data.truth, answers, k),
            partial(_is_worth_while, bench, method, number, k, repeat),
        )
        for repeat in range(build, bench.config.repeats, bench.config.builds)
        for number, effort in enumerate(efforts)
        for k in KS
        if effort.get("ef", k) >= k
    ]


def _is_worth_while(bench: Bench, method: Method, number: int, k: int, repeat: int) -> bool:
    """Tell whether a narrower setting has not found everything already, in the first repeat."""
    for narrower in range(number):
        row = bench.store.get("frontier", method.name, setting_key(narrower, k, 0))
        if row is None or WHY_NOT in row:
            continue
        if row["recall"] >= ENOUGH_RECALL and row["failed"] == 0:
            return False
    return True


def _copies_tasks(bench: Bench, copies: DataSet, variant: str, method: Method) -> list[Task]:
    answers = bench.answers_file(method)
    chosen = _chosen(bench, method)
    efforts = _efforts(bench, method)
    widest = efforts[-1]
    settings = [chosen] if dict(widest) == chosen else [chosen, dict(widest)]
    return [
        Task(
            (number,),
            f"{variant}.{effort_name(effort)}",
            "measure",
            {
                "effort": effort,
                "queries": copies.queries_file,
                "k": K,
                "seconds": bench.config.measure_seconds,
                "answers": answers,
            },
            partial(_judged_copies, copies, answers),
        )
        for number, effort in enumerate(settings)
    ]


def _answering(bench: Bench, methods: Sequence[Method]) -> list[Method]:
    """Return the methods that have a setting to go on with."""
    return [
        method for method in methods if chosen_setting(frontier(bench.store, method, K)) is not None
    ]


def _chosen(bench: Bench, method: Method) -> Facts:
    setting = chosen_setting(frontier(bench.store, method, K))
    assert setting is not None, "methods without any are left out by `_answering`"
    effort: Facts = setting["effort"]
    return effort


def _arguments(bench: Bench, method: Method, answers: Path | None) -> Facts:
    arguments = {
        "effort": _chosen(bench, method),
        "queries": bench.data.queries_file,
        "k": K,
        "seconds": bench.config.measure_seconds,
    }
    return arguments if answers is None else arguments | {"answers": answers}


def _judged(
    data: DataSet, truth: Callable[[], Floats], answers: Path, k: int, told: Facts
) -> Facts:
    """Return what the worker told, with the recall of what it answered."""
    judged = recall_of(data.vectors_ND, data.query_QD, _read(answers), truth(), k=k)
    return told | judged.to_dict()


def _judged_copies(copies: DataSet, answers: Path, told: Facts) -> Facts:
    """Return the recall of queries anywhere, and of those near the groups."""
    ids_QK, truth_QK = _read(answers), copies.truth()
    first = len(copies.query_QD) - int(copies.about["queries_near_groups"])
    parts = {"anywhere": slice(0, min(first, len(ids_QK))), "near": slice(first, len(ids_QK))}
    judged = {
        name: recall_of(
            copies.vectors_ND, copies.query_QD[part], ids_QK[part], truth_QK[part], k=K
        ).to_dict()
        for name, part in parts.items()
        if part.stop > part.start
    }
    return told | judged


def _judged_updates(data: DataSet, changed: Ids, without: Path, again: Path, told: Facts) -> Facts:
    """Return the recall after removing, and after adding the same vectors under new ids."""
    removed = changed[: told["removing"]["changed"]]
    left_ids = _read(without)
    ids_QK = _read(again)
    num = len(data.vectors_ND)
    added_QK = (ids_QK >= num) & (ids_QK < num + len(removed))
    ids_QK = np.where(added_QK, removed[np.where(added_QK, ids_QK - num, 0)], ids_QK)
    stale = np.isin(left_ids, removed) & (left_ids >= 0)
    return told | {
        "after_removing": recall_of(
            data.vectors_ND, data.query_QD, left_ids, data.truth_without(removed), k=K
        ).to_dict(),
        "removed_but_returned": int(stale.sum()),
        "after_adding": recall_of(
            data.vectors_ND, data.query_QD, ids_QK, data.truth(), k=K
        ).to_dict(),
    }


def _read(path: Path) -> Ids:
    ids: Ids = np.load(path, allow_pickle=False)
    return ids
