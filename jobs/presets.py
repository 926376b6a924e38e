"""`--preset`, for every command that trains; the plans themselves are in `embedder.config`."""

from enum import StrEnum
from typing import Annotated

import typer


class Preset(StrEnum):
    """Size and length of a training."""

    FAST = "fast"
    STANDARD = "standard"
    LARGE = "large"


PresetOption = Annotated[
    Preset,
    typer.Option("--preset", help="Size and length of the training; large is made for a GPU."),
]
