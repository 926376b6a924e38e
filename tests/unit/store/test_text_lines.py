import gzip
from pathlib import Path

import pytest

from store import text_lines
from store.text_lines import Reject, read_lines


def read(path: Path, limit: int = 100) -> tuple[list[tuple[int, str]], list[Reject]]:
    lines, rejects = [], []
    for block in read_lines(path, line_bytes_max=limit):
        lines += list(zip(block.numbers, block.texts, strict=True))
        rejects += block.rejects
    return lines, rejects


@pytest.mark.parametrize("block_bytes", [3, 7, 4096])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_lines_keep_their_numbers_over_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, suffix: str
) -> None:
    monkeypatch.setattr(text_lines, "_BLOCK_BYTES", block_bytes)
    content = "first\r\n\nthïrd\nno end".encode()
    file = tmp_path / f"file{suffix}"
    file.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert read(file) == ([(1, "first"), (2, ""), (3, "thïrd"), (4, "no end")], [])


@pytest.mark.parametrize("block_bytes", [5, 64, 4096])
def test_unreadable_lines_are_rejects_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(text_lines, "_BLOCK_BYTES", block_bytes)
    file = tmp_path / "file.csv"
    file.write_bytes(b"one\n" + b"x" * 500 + b"\nthree\n\xff\nfive\n" + b"y" * 101)
    lines, rejects = read(file)
    assert lines == [(1, "one"), (3, "three"), (5, "five")]
    assert sorted(rejects, key=lambda reject: reject.line) == [
        Reject(2, "longer than 100 bytes"),
        Reject(4, "not valid UTF-8"),
        Reject(6, "longer than 100 bytes"),
    ]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_bytes(b"")
    assert read(tmp_path / "file.csv") == ([], [])
