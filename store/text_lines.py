"""Physical lines of a text file, plain or gzipped, in blocks of bounded size."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from store.errors import FileUnreadable

_BLOCK_BYTES = 4 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Reject:
    """A row that can't be used: its 1-based line, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Lines:
    """Consecutive lines without their line ends; unreadable ones are in `rejects` instead."""

    texts: list[str]
    numbers: list[int]
    rejects: list[Reject]


def read_lines(path: Path, *, line_bytes_max: int) -> Iterator[Lines]:
    """Yield the lines of a file block by block, never holding an over-long line.

    Raises:
        FileUnreadable: If the compression is broken or the file ends inside of it.
    """
    try:
        with _open(path) as file:
            yield from _blocks(file, line_bytes_max)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileUnreadable(f"{path} is not a whole gzip file: {error}") from error


def _open(path: Path) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _blocks(file: BinaryIO, line_bytes_max: int) -> Iterator[Lines]:
    number = 1
    carry = file.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
    while block := file.read(_BLOCK_BYTES):
        *lines, carry = (carry + block).split(b"\n")
        if lines:
            yield _decode(lines, number, line_bytes_max)
            number += len(lines)
        if len(carry) > line_bytes_max:
            yield Lines([], [], [_over_long(number, line_bytes_max)])
            carry = _rest_after_line(file)
            number += 1
    if carry:
        yield _decode(carry.split(b"\n"), number, line_bytes_max)


def _rest_after_line(file: BinaryIO) -> bytes:
    """Skip to the end of the current line and return what was read past it."""
    while block := file.read(_BLOCK_BYTES):
        _, newline, rest = block.partition(b"\n")
        if newline:
            return rest
    return b""


def _decode(lines: list[bytes], first_number: int, line_bytes_max: int) -> Lines:
    if max(map(len, lines)) <= line_bytes_max:
        try:
            text = b"\n".join(lines).decode()
        except UnicodeDecodeError:
            pass
        else:
            texts = text.replace("\r\n", "\n").removesuffix("\r").split("\n")
            return Lines(texts, list(range(first_number, first_number + len(texts))), [])
    return _decode_each(lines, first_number, line_bytes_max)


def _decode_each(lines: list[bytes], first_number: int, line_bytes_max: int) -> Lines:
    decoded = Lines([], [], [])
    for number, line in enumerate(lines, first_number):
        if len(line) > line_bytes_max:
            decoded.rejects.append(_over_long(number, line_bytes_max))
            continue
        try:
            decoded.texts.append(line.decode().removesuffix("\r"))
            decoded.numbers.append(number)
        except UnicodeDecodeError:
            decoded.rejects.append(Reject(number, "not valid UTF-8"))
    return decoded


def _over_long(number: int, line_bytes_max: int) -> Reject:
    return Reject(number, f"longer than {line_bytes_max} bytes")
