"""The model card, from committed results and fixed words.

    python -m benchmarks.encoder.card > docs/model-card.md

Whatever results there are is what it tells: a data set without a result is not named.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.encoder.card_figures import (
    calibration_lines,
    cost_lines,
    data_lines,
    detection_lines,
    encoder_lines,
    factor_lines,
    loss_lines,
    reproduction_lines,
    risk_lines,
)
from benchmarks.encoder.card_results import read_results
from benchmarks.encoder.card_words import (
    ADVICE,
    FAILURES,
    HEAD,
    LABELS,
    METRICS,
    MODEL,
    NOT_FOR,
    PRIVACY,
    USES,
)
from benchmarks.encoder.render import RESULTS

CARD = Path(__file__).parents[2] / "docs" / "model-card.md"
PATTERN = "e*.json"  # the encoder's and early risk


def main() -> None:
    """Write the card of the results that are kept with the code to stdout."""
    sys.stdout.write(model_card(RESULTS.glob(PATTERN)))


def model_card(files: Iterable[Path]) -> str:
    """Return the card of some results."""
    results = read_results(files)
    lines = [HEAD]
    for words in (MODEL, USES, NOT_FOR):
        lines += [words, ""]
    lines += data_lines(results)
    lines += [METRICS, "", "## Figures\n"]
    lines += risk_lines(results)
    lines += encoder_lines(results)
    lines += loss_lines(results)
    lines += calibration_lines(results)
    lines += detection_lines(results)
    lines += factor_lines(results)
    for words in (FAILURES, LABELS, PRIVACY, ADVICE):
        lines += [words, ""]
    lines += cost_lines(results.scale)
    lines += reproduction_lines(results)
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    main()
