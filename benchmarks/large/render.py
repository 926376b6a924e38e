"""Writes `docs/scale.md` from the results that are kept with the code.

python -m benchmarks.large.render
"""

from pathlib import Path

from benchmarks.large.page import RESULTS_PATTERN, write_page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"


def main() -> None:
    """Write the page."""
    write_page(sorted((ROOT / "benchmarks" / "results").glob(RESULTS_PATTERN)), PAGE)


if __name__ == "__main__":
    main()
