"""What a person sees beside the answer: progress bars, on a terminal only, and tables."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yield a callback (what, done, total) that draws a bar for each `what` on stderr.

    Where stderr is no terminal nothing is drawn.
    """
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, TaskID, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (*Bars.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table; columns of numbers are aligned right."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(header))
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return [line(header), *map(line, texts)]


def _text(cell: object) -> str:
    """Write one cell; a character that would move the cursor is written as its escape."""
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case float():
            return f"{cell:.3f}"
        case _:
            return printable(str(cell))


def printable(text: str) -> str:
    """Replace control characters by escapes, so that data can't draw on the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _silent(what: str, done: int, total: int) -> None:
    """Draw nothing."""
