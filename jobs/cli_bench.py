"""`lookalike bench`: measurements, each beside its peers."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.presets import Preset
from jobs.session import Session, with_session

bench = typer.Typer(name="bench", help="Measurements, each beside its peers.", no_args_is_help=True)


Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Folder for results; an interrupted run goes on where it was."
    ),
]
Data = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Folder with events.parquet and labels.csv; repeatable."),
]
Users = Annotated[
    int | None,
    typer.Option(min=1500, help="Users to simulate where there is no --data; 10,000 if absent."),
]
Cut = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Learn from users of earlier times; chosen if absent."),
]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="Leave out users first seen from this time on.")
]
StrictType = Annotated[
    str | None,
    typer.Option(metavar="TYPE", help="Measure again on this type of event alone (strict track)."),
]
StrictColumns = Annotated[
    str | None, typer.Option(metavar="A,B", help="Columns that the strict track keeps.")
]
Without = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Measure again without this column; repeatable."),
]
Within = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Groups: rank only users of the same dominant value."),
]
Unverified = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN", help="Groups: label column; who shares only its value is not ranked."
    ),
]
Seeds = Annotated[str, typer.Option(metavar="N,N", help="A training for each.")]
Methods = Annotated[
    str | None, typer.Option(metavar="A,B", help="Some methods only; all if absent.")
]
Parts = Annotated[
    bool,
    typer.Option(
        "--parts",
        help="Measure what the behavior network learns from instead, each part left out in turn.",
    ),
]
TrainedPreset = Annotated[
    Preset | None,
    typer.Option("--preset", help="Size and length of every training; fast if absent."),
]
Quick = Annotated[bool, typer.Option("--quick", help="Few users and steps, to try it out.")]
Scale = Annotated[
    bool,
    typer.Option(
        "--scale", help="Measure speed and memory instead, on simulated platforms of growing size."
    ),
]
ScaleMax = Annotated[
    int | None, typer.Option(min=5000, help="With --scale: events of the largest platform.")
]
AnnData = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="NAME|FILE",
        help="clustered, sentences, platform, or a file: .npy, .fvecs, .hdf5 of ann-benchmarks, "
        "Parquet of export vectors; repeatable; clustered if absent.",
    ),
]
Sizes = Annotated[str, typer.Option(metavar="N,N", help="Vectors of the clustered data sets.")]
PlatformUsers = Annotated[
    str, typer.Option(metavar="N,N", help="Users of the simulated platforms.")
]
Texts = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Texts of --data sentences: one a line, or a Parquet file."),
]
TextsColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The column of a Parquet file of texts.")
]
TextsMax = Annotated[int, typer.Option(min=1_000, help="Most texts that are embedded.")]
RowsMax = Annotated[int | None, typer.Option(min=1_000, help="Most vectors read of a file.")]
Sections = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Some of frontier, batch, concurrency, filters, duplicates, updates; all if absent.",
    ),
]
Queries = Annotated[int, typer.Option(min=100, help="Held-out queries.")]
Repeats = Annotated[int, typer.Option(min=1, help="Passes over all methods and settings.")]
Builds = Annotated[
    int,
    typer.Option(
        min=1, help="Indexes that each method builds, one a pass: graphs of several threads differ."
    ),
]
Seconds = Annotated[float, typer.Option(help="Most seconds of one measurement.")]
BuildSeconds = Annotated[float, typer.Option(help="Most seconds of one build.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of builds and batches; the cores if absent.")
]
MemoryMb = Annotated[
    int,
    typer.Option(
        min=500,
        help="Methods whose indexes exceed it together are measured one group after another.",
    ),
]
AnnSeed = Annotated[int, typer.Option(min=0, help="Of data, filters and groups.")]
AnnQuick = Annotated[
    bool, typer.Option("--quick", help="Few vectors, ours and FAISS alone, to try it out.")
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        metavar="RESULT",
        help="An earlier result; exit status 3 where a method is slower or worse than there.",
    ),
]
PeersVenv = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Environment of the other libraries, made there if it is missing; "
        "or LOOKALIKE_PEERS_PYTHON names a Python that has them.",
    ),
]


@bench.command("ann")
@with_session
def ann_command(
    session: Session,
    output: Output,
    data: AnnData = None,
    sizes: Sizes = "10000,200000",
    platform_users: PlatformUsers = "10000",
    texts: Texts = None,
    texts_column: TextsColumn = None,
    texts_max: TextsMax = 50_000,
    rows_max: RowsMax = None,
    methods: Methods = None,
    sections: Sections = None,
    queries: Queries = 10_000,
    repeats: Repeats = 3,
    builds: Builds = 1,
    seconds: Seconds = 20.0,
    build_seconds: BuildSeconds = 7_200.0,
    threads: Threads = None,
    memory_mb: MemoryMb = 12_000,
    seed: AnnSeed = 0,
    quick: AnnQuick = False,
    baseline: Baseline = None,
    peers_venv: PeersVenv = None,
) -> None:
    """Measure nearest-neighbor search beside other libraries and databases."""
    from jobs.bench import run

    options = {
        "data": data,
        "sizes": sizes,
        "platform-users": platform_users,
        "texts": None if texts is None else str(texts),
        "texts-column": texts_column,
        "texts-max": str(texts_max),
        "rows-max": None if rows_max is None else str(rows_max),
        "methods": methods,
        "sections": sections,
        "queries": str(queries),
        "repeats": str(repeats),
        "builds": str(builds),
        "seconds": str(seconds),
        "build-seconds": str(build_seconds),
        "threads": None if threads is None else str(threads),
        "memory-mb": str(memory_mb),
        "seed": str(seed),
        "quick": quick,
        "baseline": None if baseline is None else str(baseline),
        "peers-venv": None if peers_venv is None else str(peers_venv),
    }
    report = run("ann", output, options)
    session.answer(report.to_dict(), report.lines())


@bench.command("encoder")
@with_session
def encoder_command(
    session: Session,
    output: Output,
    data: Data = None,
    users: Users = None,
    cut: Cut = None,
    until: Until = None,
    strict_type: StrictType = None,
    strict_columns: StrictColumns = None,
    without: Without = None,
    within: Within = None,
    unverified: Unverified = None,
    seeds: Seeds = "0",
    methods: Methods = None,
    parts: Parts = False,
    preset: TrainedPreset = None,
    quick: Quick = False,
    scale: Scale = False,
    scale_max: ScaleMax = None,
) -> None:
    """Measure the encoder beside simple methods, published recipes, and itself with parts off."""
    from jobs.bench import run

    options = {
        "data": None if data is None else [str(folder) for folder in data],
        "users": None if users is None else str(users),
        "cut": cut,
        "until": until,
        "strict-type": strict_type,
        "strict-columns": strict_columns,
        "without": without,
        "within": within,
        "unverified": unverified,
        "seeds": seeds,
        "methods": methods,
        "parts": parts,
        "preset": None if preset is None else preset.value,
        "quick": quick,
        "scale": scale,
        "scale-max": None if scale_max is None else str(scale_max),
    }
    report = run("encoder", output, options)
    session.answer(report.to_dict(), report.lines())
