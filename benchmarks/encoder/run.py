"""Runs the benchmark: every study, every seed, every candidate, every task; then the figures."""

import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from benchmarks.commits import commit_facts
from benchmarks.compact import compact
from benchmarks.encoder.config import BenchmarkConfig
from benchmarks.encoder.figures import Figures, figures_of
from benchmarks.encoder.methods import Candidate, Fitted, Unanswerable
from benchmarks.encoder.registry import CANDIDATES, PARTS, chosen
from benchmarks.encoder.render import PARTS_THEME, QUALITY, RESULTS_PATTERN, render
from benchmarks.encoder.rows import Row, RowStore, pack_rankings
from benchmarks.encoder.studies import Study, open_studies
from benchmarks.encoder.tasks import Agenda, AnyTask, RiskTask, make_agenda
from embedder.errors import NotEnoughData
from embedder.evaluation.retrieval import rank_both_ways
from jobs.report.facts import command, commit, machine, versions
from store.clock import from_us
from store.durable import write_atomic

Report = Callable[[str], None]


def run(config: BenchmarkConfig, output: Path, *, now: datetime, report: Report) -> list[Path]:
    """Measure what is not measured yet, and write a result per study and `encoder.md`.

    Args:
        config: What is measured.
        output: Folder of rows and results; a run of the same settings goes on where it was.
        now: The date of the results.
        report: Told what goes on, line by line.
    """
    among = PARTS if config.parts else CANDIDATES
    altered = {one.name: one.altered_from for one in among if one.altered_from is not None}
    candidates, written, own_commit = chosen(config.methods, among), [], commit()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="encoder-") as name:
        for data, study in open_studies(config, Path(name), now=now):
            is_whole = study.name == data
            began = time.monotonic()
            store = RowStore(output / "rows" / study.name, own_commit)
            agenda = make_agenda(study)
            agenda = agenda.ranked() if config.parts else agenda
            store.claim({**config.identity(), "data": data, "users": len(study.people.user_ids)})
            for task in agenda.tasks:
                store.write_task(task)
            for seed in config.seeds:
                for candidate in candidates:
                    if candidate.altered_from is not None and not is_whole:
                        continue
                    if candidate.is_seeded or seed == config.seeds[0]:
                        measure_candidate(study, agenda, candidate, seed, store, report)
            tasks = [figures_of(task, store, study.config, altered) for task in agenda.tasks]
            result = {
                "theme": PARTS_THEME if config.parts else QUALITY,
                "data": data,
                "study": study.name,
                "measured_at": now.isoformat(timespec="seconds"),
                **commit_facts(own_commit, (row.commit for row in _rows(agenda, store))),
                **_circumstances(config, study, time.monotonic() - began),
                "about": _about(tasks, among),
                "tasks": tasks,
                "unmeasured": [vars(task) for task in agenda.unmeasured],
            }
            path = output / result_name(f"parts_{study.name}" if config.parts else study.name, now)
            write_atomic(path, compact(result).encode())
            written.append(path)
    page = output / "encoder.md"
    write_atomic(page, render(sorted(output.glob(RESULTS_PATTERN))).encode())
    return [*written, page]


def measure_candidate(
    study: Study,
    agenda: Agenda,
    candidate: Candidate,
    seed: int,
    store: RowStore,
    report: Report,
) -> None:
    """Fit a candidate and let its methods answer every task that they can, once."""
    if store.is_done(candidate.name, seed):
        return
    began = time.monotonic()
    try:
        fitted = candidate.fit(study, seed=seed)
    except (Unanswerable, NotEnoughData) as error:
        for task in agenda.tasks:
            store.write(task.name, _silent(candidate, candidate.name, seed, str(error)), {})
        store.finish(candidate.name, seed)
        report(f"{study.name}, seed {seed}: {candidate.name} can't be fitted: {error}")
        return
    fit_seconds = time.monotonic() - began
    for task in agenda.tasks:
        measure_task(task, candidate, fitted, fit_seconds, seed, store, study)
    store.finish(candidate.name, seed)
    seconds = time.monotonic() - began
    report(f"{study.name}, seed {seed}: {candidate.name} took {seconds:.1f} s")


def measure_task(
    task: AnyTask,
    candidate: Candidate,
    fitted: Fitted,
    fit_seconds: float,
    seed: int,
    store: RowStore,
    study: Study,
) -> None:
    """Write the rows of all methods of a candidate that are not there yet."""
    for method in fitted.judges if isinstance(task, RiskTask) else fitted.rankers:
        if store.has(task.name, method, seed):
            continue
        began = time.monotonic()
        try:
            if isinstance(task, RiskTask):
                arrays = {"probability": fitted.judges[method](task)}
            else:
                query, gallery = fitted.rankers[method](task)
                ranked = rank_both_ways(query, gallery, task.question.task, study.config)
                arrays = dict(pack_rankings(*ranked))
        except Unanswerable as error:
            store.write(task.name, _silent(candidate, method, seed, str(error)), {})
            continue
        took = time.monotonic() - began
        row = Row(
            candidate.name, method, candidate.family, seed, round(fit_seconds, 2), round(took, 2)
        )
        store.write(task.name, row, arrays)


def _rows(agenda: Agenda, store: RowStore) -> Iterator[Row]:
    for task in agenda.tasks:
        yield from store.rows(task.name)


def _about(tasks: Sequence[Figures], among: Sequence[Candidate]) -> dict[str, str]:
    """Return what the candidates are that have rows, in this run or an earlier one."""
    found = {row["candidate"] for task in tasks for row in task["rows"]}
    found |= {name for task in tasks for name in task["not_answered"]}
    return {each.name: each.about for each in among if each.name in found}


def _silent(candidate: Candidate, method: str, seed: int, reason: str) -> Row:
    return Row(candidate.name, method, candidate.family, seed, 0.0, 0.0, reason)


def _circumstances(config: BenchmarkConfig, study: Study, seconds: float) -> Mapping[str, object]:
    """Return what figures and times depend on."""
    people = study.people
    # ru_maxrss is in kilobytes on Linux, in bytes on macOS
    unit = 1024 if sys.platform == "linux" else 1024**2
    return {
        "command": named_alone(command()),
        "seeds": list(config.seeds),
        "preset": "quick" if config.quick else config.preset,
        "cut": None if study.cut_us is None else from_us(study.cut_us).isoformat(),
        "seconds_this_time": round(seconds, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
        "users": {
            "all": len(people.user_ids),
            "events": int(people.num_events_N.sum()),
            "learned_from": int(study.is_learned_N.sum()),
            "violators": int(people.is_violator_N.sum()),
            "violators_learned_from": int((people.is_violator_N & study.is_learned_N).sum()),
        },
        "schema": study.schema.to_dict(),
        "config": config.model_dump(mode="json", exclude={"data"}),
        "plan": study.plan.model_dump(),
        "evaluation": study.config.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions(),
    }


def named_alone(called: str) -> str:
    """Return a command with its paths by their last names: folders are of one machine."""
    return " ".join(Path(word).name if "/" in word else word for word in called.split(" "))


def result_name(study: str, now: datetime) -> str:
    """Return the name of a result file: what was measured, on what hardware, when."""
    facts = machine()
    processor = re.sub(r"[^a-z0-9]+", "-", str(facts["processor"]).lower()).strip("-")
    return f"encoder_{study}_{processor}-{facts['cores']}-cores_{now:%Y-%m-%d}.json"
