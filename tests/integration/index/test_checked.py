"""A build that was checked and not written to since is not read again; anything else is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from index import checked
from index.build import STAGING_PREFIX, load_build, write_build
from index.builds import discard
from index.checked import note_of
from index.config import IndexConfig
from index.errors import BuildCorrupt
from index.manifest import checksum
from store.workspace import Workspace
from tests.index_fakes import NOW, build_input, unit_vectors


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read to be checked; those just written may be noted, too."""
    names: list[str] = []

    def noted(path: Path) -> str:
        names.append(path.name)
        return checksum(path)

    monkeypatch.setattr("index.manifest.checksum", noted)
    monkeypatch.setattr(checked, "SETTLED_NS", 0)
    return names


@pytest.fixture
def build(workspace: Workspace, hashed: list[str]) -> Path:
    """A build that was checked once."""
    directory = write_build(workspace, build_input(unit_vectors(20)), IndexConfig(), now=NOW)
    hashed.clear()
    load_build(directory)
    assert "vectors.npy" in hashed
    hashed.clear()
    return directory


def flip(path: Path) -> None:
    """Change one byte where it is, and give the file the times of content that it had."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_was_checked_is_not_read_again(build: Path, hashed: list[str]) -> None:
    load_build(build)
    published = build.with_name(build.name.removeprefix(STAGING_PREFIX))
    build.rename(published)
    load_build(published)
    assert hashed == []


def test_a_changed_byte_is_seen_although_size_and_times_are_as_before(
    build: Path, hashed: list[str]
) -> None:
    flip(build / "vectors.npy")
    for _ in range(2):
        with pytest.raises(BuildCorrupt, match=r"vectors\.npy was changed"):
            load_build(build)
    flip(build / "vectors.npy")
    load_build(build)
    assert hashed == ["vectors.npy"] * 3


def replace_by_a_copy(build: Path) -> None:
    path = build / "vectors.npy"
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def damage_note(build: Path) -> None:
    note(build).write_bytes(b'["vectors.npy"]')


def lose_note(build: Path) -> None:
    note(build).unlink()


def note(build: Path) -> Path:
    return note_of(build.parent, build.name.removeprefix(STAGING_PREFIX))


@pytest.mark.parametrize("change", [replace_by_a_copy, damage_note, lose_note])
def test_what_the_note_does_not_cover_is_read_once_more(
    build: Path, hashed: list[str], change: Callable[[Path], None]
) -> None:
    change(build)
    load_build(build)
    assert hashed.count("vectors.npy") == 1
    load_build(build)
    assert hashed.count("vectors.npy") == 1


def test_a_file_just_written_is_not_noted(
    build: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "SETTLED_NS", 3_600 * 10**9)
    lose_note(build)
    for _ in range(2):
        load_build(build)
    assert hashed.count("vectors.npy") == 2
    assert not note(build).exists()


def test_a_missing_and_a_foreign_file_are_seen_as_ever(build: Path) -> None:
    (build / "more").write_bytes(b"")
    with pytest.raises(BuildCorrupt, match="more does not belong"):
        load_build(build)
    (build / "more").unlink()
    (build / "vectors.npy").unlink()
    with pytest.raises(BuildCorrupt, match=r"vectors\.npy is missing"):
        load_build(build)


def test_where_no_note_can_be_written_all_is_read_each_time(
    build: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_note(build)

    def refuse(*_: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(checked, "write_atomic", refuse)
    for _ in range(2):
        load_build(build)
    assert hashed.count("vectors.npy") == 2


def test_the_note_goes_with_the_build(build: Path) -> None:
    assert note(build).exists()
    discard(build, None)
    assert not note(build).exists()
