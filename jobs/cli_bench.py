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
        "preset": None if preset is None else preset.value,
        "quick": quick,
        "scale": scale,
        "scale-max": None if scale_max is None else str(scale_max),
    }
    report = run("encoder", output, options)
    session.answer(report.to_dict(), report.lines())
