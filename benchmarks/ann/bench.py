"""A data set under measurement: workers are built and loaded here, and asked in turns.

All methods are loaded before any is measured, and each measurement of one is followed by that of
the next: whatever slows the machine for a while slows all of them.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ann.config import BenchmarkConfig
from benchmarks.ann.data import DataSet
from benchmarks.ann.methods import Method
from benchmarks.ann.peers import python_of, why_no_python
from benchmarks.ann.process import NoAnswer, WorkerLost, WorkerProcess
from benchmarks.ann.rows import WHY_NOT, RowStore, is_measured

LOAD_SECONDS, PROBE_SECONDS, SPARE_SECONDS = 1_800.0, 120.0, 300.0
RESTARTS_MAX = 2
PROCESS_MB, INDEX_OVERHEAD = 150, 1.3
BUILD, LOAD = "build", "load"

Facts = dict[str, Any]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """A measurement of one method.

    Attributes:
        order: When it takes place; tasks of one order run one method after the other.
        key: Of its row.
        ask: What the worker is asked.
        arguments: With what.
        judge: Returns the row, of what the worker told.
        is_due: Whether it is still worth while, as far as rows tell.
    """

    order: tuple[int, ...]
    key: str
    ask: str
    arguments: Facts
    judge: Callable[[Facts], Facts] = dict
    is_due: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Bench:
    """What all sections share.

    Attributes:
        config: What is measured.
        data: On what.
        store: Where rows are kept.
        scratch: Where indexes, answers and what workers print are kept while it runs.
        report: Told what goes on, line by line.
        versions: Of each method's library, filled by `probe`.
    """

    config: BenchmarkConfig
    data: DataSet
    store: RowStore
    scratch: Path
    report: Report
    versions: dict[str, Facts] = field(default_factory=dict)

    def probe(self, methods: Sequence[Method]) -> tuple[list[Method], dict[str, str]]:
        """Return the methods whose library answers, and why others don't."""
        there, missing = [], {}
        for method in methods:
            if python_of(method) is None:
                missing[method.name] = why_no_python()
                continue
            try:
                with self.start(method, threads=1) as worker:
                    told = worker.ask("versions", timeout=PROBE_SECONDS, library=method.library)
            except NoAnswer as error:
                missing[method.name] = str(error)
                continue
            self.versions[method.name] = told
            there.append(method)
        return there, missing

    def start(self, method: Method, *, threads: int) -> WorkerProcess:
        """Start a worker."""
        python, logs = python_of(method), self.scratch / "logs"
        assert python is not None, "methods without a Python are left out by `probe`"
        logs.mkdir(parents=True, exist_ok=True)
        return WorkerProcess(
            python, method.engine, threads=threads, log=logs / f"{method.name}.log"
        )

    def answers_file(self, method: Method, name: str = "answers") -> Path:
        """Return where a worker leaves its answers."""
        folder = self.scratch / "answers"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{method.name}.{name}.npy"

    def built(self, method: Method, data: DataSet, number: int = 0) -> Path | None:
        """Return the folder of a method's index, built now if it is not there; None on failure."""
        folder, stamp = self._built_files(method, data, number)
        if stamp.exists():
            return folder
        key = build_key(data, number)
        row = self.store.get(BUILD, method.name, key)
        if row is not None and not is_measured(row):
            return None
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        told = self._build(method, data, folder)
        if row is None:
            self.store.put(BUILD, method.name, key, told)
        if not is_measured(told):
            shutil.rmtree(folder, ignore_errors=True)
            return None
        stamp.touch()
        return folder

    def forget_built(self, method: Method, data: DataSet, number: int) -> None:
        """Remove an index; it is built again where it is asked for."""
        folder, stamp = self._built_files(method, data, number)
        stamp.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def measure_in_turns(
        self,
        section: str,
        methods: Sequence[Method],
        tasks_of: Callable[[Method], Sequence[Task]],
        *,
        threads: int = 1,
        data: DataSet | None = None,
        number: int = 0,
        copied: bool = False,
    ) -> None:
        """Run all tasks that have no row yet, method after method.

        Args:
            section: Of the rows.
            methods: Whose tasks; those that can't be built have none.
            tasks_of: The tasks of a method.
            threads: Threads of each worker.
            data: Built from; the data set itself if absent.
            number: Of the build; all but the first are removed afterwards.
            copied: Load copies of the indexes, since the tasks change them.
        """
        stored = data or self.data
        open_tasks = {}
        for method in methods:
            tasks = [
                task
                for task in tasks_of(method)
                if self.store.get(section, method.name, task.key) is None and task.is_due()
            ]
            if tasks:
                open_tasks[method.name] = tasks
        waiting = [method for method in methods if method.name in open_tasks]
        groups = list(self._groups(waiting, stored, number))  # all are built before any is asked
        for group in groups:
            with ExitStack() as stack:
                desks = [
                    Desk(self, section, method, stored, threads, number=number, copied=copied)
                    for method in group
                ]
                for desk in desks:
                    stack.callback(desk.close)
                    desk.open()
                orders = {task.order for desk in desks for task in open_tasks[desk.name]}
                for order in sorted(orders):
                    for desk in desks:
                        desk.work([task for task in open_tasks[desk.name] if task.order == order])
        if number:
            for method in waiting:
                self.forget_built(method, stored, number)

    def _built_files(self, method: Method, data: DataSet, number: int) -> tuple[Path, Path]:
        """Return the folder of an index, and the file that tells that it is whole."""
        name = f"{method.name}.{number}" if number else method.name
        folder = self.scratch / "built" / data.folder.name / name
        return folder, folder.with_name(f"{name}.built")

    def _build(self, method: Method, data: DataSet, folder: Path) -> Facts:
        self.report(f"{data.name}: building {method.name}")
        try:
            with self.start(method, threads=self.config.threads) as worker:
                return worker.ask(
                    "build",
                    timeout=self.config.build_seconds,
                    vectors=data.vectors_file,
                    flags=data.flags_file,
                    folder=folder,
                    params=dict(method.build),
                    threads=self.config.threads,
                )
        except NoAnswer as error:
            self.report(f"{data.name}: {method.name} can't be built: {error}")
            return {WHY_NOT: f"it can't be built: {error}"}

    def _groups(
        self, methods: Sequence[Method], data: DataSet, number: int
    ) -> Iterator[list[Method]]:
        """Yield methods whose indexes fit into memory together, in their order."""
        group: list[Method] = []
        used = 0.0
        for method in methods:
            folder = self.built(method, data, number)
            if folder is None:
                continue
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            needed = PROCESS_MB + INDEX_OVERHEAD * size / 2**20
            if group and used + needed > self.config.memory_mb:
                yield group
                group, used = [], 0.0
            group.append(method)
            used += needed
        if group:
            yield group


class Desk:
    """A method's worker with its tasks; it is started anew when it dies, but not for ever."""

    def __init__(
        self,
        bench: Bench,
        section: str,
        method: Method,
        data: DataSet,
        threads: int,
        *,
        number: int,
        copied: bool,
    ) -> None:
        self.name = method.name
        self._bench, self._section, self._method, self._data = bench, section, method, data
        self._threads, self._number, self._copied = threads, number, copied
        self._worker: WorkerProcess | None = None
        self._starts, self._why_closed = 0, ""

    def open(self) -> None:
        """Start the worker and load the index; the first cold load of a method is a row."""
        bench, method = self._bench, self._method
        folder = bench.built(method, self._data, self._number)
        assert folder is not None, "methods that can't be built have no desk"
        if self._copied:
            folder = copied_with_owners(folder)
        self._starts += 1
        try:
            self._worker = bench.start(method, threads=self._threads)
            told = self._worker.ask(
                "load",
                timeout=LOAD_SECONDS,
                folder=folder,
                params=dict(method.build),
                threads=self._threads,
                effort=dict(method.efforts[0]),
                queries=self._data.queries_file,
                k=10,
            )
        except NoAnswer as error:
            self._why_closed = f"it can't be loaded: {error}"
            self._starts = RESTARTS_MAX + 1
            self.close()
            return
        if self._data is bench.data and bench.store.get(LOAD, method.name, LOAD) is None:
            bench.store.put(LOAD, method.name, LOAD, told)

    def work(self, tasks: Sequence[Task]) -> None:
        """Do tasks and keep their rows."""
        for task in tasks:
            if not task.is_due():
                continue
            if self._worker is None and self._starts <= RESTARTS_MAX:
                self.open()
            self._bench.store.put(self._section, self.name, task.key, self._row(task))

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _row(self, task: Task) -> Facts:
        if self._worker is None:
            return {WHY_NOT: self._why_closed}
        timeout = self._bench.config.measure_seconds * 4 + SPARE_SECONDS
        try:
            told = self._worker.ask(task.ask, timeout=timeout, **task.arguments)
        except WorkerLost as error:
            self._why_closed = str(error)
            self._bench.report(f"{self._data.name}: {self.name} is lost: {error}")
            self.close()
            return {WHY_NOT: str(error)}
        except NoAnswer as error:
            return {WHY_NOT: str(error)}
        return task.judge(told)


def build_key(data: DataSet, number: int) -> str:
    """Return the key of the row of a build."""
    return f"{data.folder.name}.{number}" if number else data.folder.name


def copied_with_owners(folder: Path) -> Path:
    """Return a fresh copy beside a folder; files stay whose they are, as PostgreSQL wants them."""
    copy = folder.with_name(f"{folder.name}.copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, symlinks=True)
    for path in (folder, *folder.rglob("*")):
        owner = path.lstat()
        with contextlib.suppress(PermissionError):  # whoever may not give files away has them all
            os.lchown(copy / path.relative_to(folder), owner.st_uid, owner.st_gid)
    return copy
