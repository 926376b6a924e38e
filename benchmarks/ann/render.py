"""Writes `benchmarks/ann.md` and its pictures from the results that are kept with the code.

python -m benchmarks.ann.render
"""

from pathlib import Path

from benchmarks.ann.page import RESULTS_PATTERN, write_page

FOLDER = Path(__file__).parents[1]


def main() -> None:
    """Write the page."""
    write_page(sorted((FOLDER / "results").glob(RESULTS_PATTERN)), FOLDER)


if __name__ == "__main__":
    main()
