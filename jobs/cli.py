"""`lookalike`: parses, calls one job, prints what it reports.

Data goes to stdout, everything else to stderr. Jobs are imported when they are run, so that help
and mistakes are answered at once.
"""

import json
import os
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from embedder.errors import EmbedderError
from index.answers import Purpose
from index.errors import IndexingError
from jobs.cli_bench import bench
from jobs.cli_builds import builds
from jobs.cli_export import export
from jobs.cli_ingest import ingest
from jobs.cli_keys import keys
from jobs.errors import BenchmarkRegressed, JobError, UsageError
from jobs.presets import Preset, PresetOption
from jobs.session import JsonOption, Session, WorkspaceOption, with_session
from jobs.terminal import printable, progress_bars, table
from jobs.times import parse_as_of
from store.durable import explain as explain_os_error
from store.errors import StoreError

FAILED, WRONG_USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="lookalike",
    help="Finds the known violators who behave like a user.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(ingest)
app.add_typer(builds)
app.add_typer(export)
app.add_typer(keys)
app.add_typer(bench)

AsOf = Annotated[
    datetime | None,
    typer.Option(
        "--as-of",
        parser=parse_as_of,
        metavar="TIME",
        help="Use only what was known before this time; now if absent.",
        show_default=False,
    ),
]
Cut = Annotated[
    datetime | None,
    typer.Option(
        "--cut",
        parser=parse_as_of,
        metavar="TIME",
        help="Training sees nothing from this time on; chosen from the data if absent.",
        show_default=False,
    ),
]


def main() -> None:
    """Run the command line; the console script.

    Threads that wait must sleep instead of spinning: a job shares its cores with the service, and
    on two busy cores spinning makes a training ten times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status.

    An error is one line on stderr, and with --json an object `{"error": ...}` on stdout too.
    """
    try:
        status = app(args=arguments, prog_name="lookalike", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001  the process's edge: what is unexpected is kept whole
        message, status = explain_error(error)
        if "--json" in arguments:
            print(json.dumps({"error": message}))
        return _fail(message, status)


def explain_error(error: Exception) -> tuple[str, int]:
    """Return what to say of an error, and the exit status."""
    match error:
        case typer.TyperException():
            return error.format_message(), WRONG_USAGE
        case UsageError():
            return str(error), WRONG_USAGE
        case BenchmarkRegressed():
            return str(error), REFUSED
        case StoreError() | EmbedderError() | IndexingError() | JobError():
            return str(error), FAILED
        case OSError():
            return explain_os_error(error), FAILED
        case _:
            return f"unexpected {type(error).__name__}; see {_keep_whole(error)}", FAILED


def _fail(message: str, status: int) -> int:
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr, flush=True)
    return status


def _keep_whole(error: Exception) -> str:
    """Write an unexpected error with its traceback into a file, and return its path."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="lookalike-error-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.writelines(traceback.format_exception(error))
    return file.name


def _reader_left() -> int:
    """End quietly when whoever read our output has gone, as `| head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


@app.callback()
def remember_global_options(
    context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Find the known violators who behave like a user."""
    context.obj = Session(workspace, as_json)


@app.command()
@with_session
def init(session: Session) -> None:
    """Make a workspace and write lookalike.toml with every option and its meaning."""
    from jobs.init import run as run_init

    report = run_init(session.root)
    state = "made" if report.created else "exists already, left as it is:"
    session.answer(report.to_dict(), [f"{state} {report.config_file}"])


@app.command()
@with_session
def train(
    session: Session,
    as_of: AsOf = None,
    preset: PresetOption = Preset.STANDARD,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal models.")] = 0,
) -> None:
    """Train the encoder; prints the space id and the validation metrics."""
    from jobs.train import run as run_train

    with progress_bars() as progress:
        report = run_train(
            session.workspace,
            session.settings,
            as_of=as_of or _now(),
            preset=preset.value,
            seed=seed,
            progress=progress,
        )
    session.answer(report.to_dict(), report.lines())


@app.command()
@with_session
def rebuild(
    session: Session,
    as_of: AsOf = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Publish though the gate refuses, or another build went live meanwhile."
        ),
    ] = False,
) -> None:
    """Embed what changed, build, check and publish; exit status 3 when the build is refused."""
    from jobs.rebuild import run as run_rebuild

    now = _now()
    with progress_bars() as progress:
        report = run_rebuild(
            session.workspace,
            session.settings,
            as_of=as_of or now,
            now=now,
            force=force,
            progress=progress,
        )
    session.answer(report.to_dict(), report.lines())
    if not report.is_live:
        raise typer.Exit(REFUSED)


@app.command()
@with_session
def serve(
    session: Session,
    host: Annotated[str | None, typer.Option(help="Over [serve] host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Over [serve] port.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Over [serve] workers.")] = None,
) -> None:
    """Serve the live build over HTTP until it is stopped."""
    from jobs.serve import run as run_serve

    run_serve(session.workspace, host=host, port=port, workers=workers)


@app.command()
@with_session
def search(
    session: Session,
    user: Annotated[str, typer.Argument(metavar="USER", help="A user of the live build.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Neighbors to show.")] = 10,
    known_violators: Annotated[
        bool, typer.Option("--known-violators", help="Only among known violators.")
    ] = False,
    count: Annotated[
        Literal["users", "behaviors"],
        typer.Option(help="What -k counts; of a behavior, one user stands for all exactly alike."),
    ] = "users",
    purpose: Annotated[
        Purpose | None,
        typer.Option(
            help="What for: evader and ring take the vectors as they are, same_kind "
            "the same behavior wherever it happens."
        ),
    ] = None,
) -> None:
    """Show the users who behave most like one."""
    from jobs.search import run as run_search

    report = run_search(
        session.workspace,
        session.settings,
        user,
        k=k,
        known_violators=known_violators,
        count=count,
        purpose=purpose,
        now=_now(),
    )
    header = ("user_id", "similarity", "known_violator", "policy", "num_events", "duplicates")
    rows = [[neighbor[name] for name in header] for neighbor in report.neighbors]
    session.answer(report.to_dict(), table(header, rows))


@app.command()
@with_session
def evaluate(
    session: Session,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the reports.")],
    preset: PresetOption = Preset.FAST,
    cut: Cut = None,
) -> None:
    """Look for leaks, then measure encoder and risk beside simple methods; report.json and .html.

    Exit status 3 when a check of the audit failed: the tasks that it is about show no figures.
    """
    from jobs.evaluate import run as run_evaluate

    with progress_bars() as progress:
        report = run_evaluate(
            session.workspace,
            session.settings,
            output,
            preset=preset.value,
            cut=cut,
            now=_now(),
            progress=progress,
        )
    session.answer(report.to_dict(), report.lines())
    if report.refused:
        message = f"the leak audit failed; no figures for {', '.join(report.refused)}"
        raise typer.Exit(_fail(message, REFUSED))


@app.command()
@with_session
def audit(
    session: Session,
    cut: Cut = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for audit.json and audit.html.", show_default=False
        ),
    ] = None,
) -> None:
    """Look for leaks in what an evaluation reads, of the future and of the label.

    Exit status 1 when a check failed.
    """
    from jobs.leak_audit import run as run_audit

    with progress_bars() as progress:
        report = run_audit(
            session.workspace,
            session.settings,
            output,
            cut=cut,
            now=_now(),
            progress=progress,
        )
    session.answer(report.to_dict(), report.lines())
    if report.failed:
        raise typer.Exit(_fail(f"the leak audit failed: {', '.join(report.failed)}", FAILED))


@app.command()
@with_session
def erase(
    session: Session,
    users: Annotated[list[str], typer.Argument(metavar="USER...", help="Users to erase.")],
) -> None:
    """Erase users everywhere; prints a receipt."""
    from jobs.erase import run as run_erase

    report = run_erase(session.workspace, session.settings, users, now=_now())
    session.answer(report.to_dict(), report.lines())


@app.command()
@with_session
def demo(
    session: Session,
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder to make the workspace in.")
    ] = Path("demo"),
    users: Annotated[int, typer.Option(min=1000, help="Simulated users.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal platforms.")] = 0,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Over [serve] port.")] = None,
    serve: Annotated[bool, typer.Option(help="Serve the page at the end.")] = True,
) -> None:
    """Simulate a platform, find its rings and evaders, serve the page."""
    from jobs.demo import check_demo_address, open_demo
    from jobs.demo import run as run_demo
    from jobs.serve import run as run_serve

    now = _now()
    if serve:
        check_demo_address(directory, port=port)
    with progress_bars() as progress:
        report = run_demo(directory, num_users=users, seed=seed, now=now, progress=progress)
    if not serve:
        session.answer(report.to_dict(), report.lines())
        return
    opened = open_demo(directory, port=port, now=now)
    session.answer(report.to_dict() | opened.to_dict(), [*report.lines(), *opened.lines()])
    run_serve(opened.workspace, host=opened.host, port=opened.port, workers=None)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
