import os
from pathlib import Path

import pytest

from store.durable import (
    check_writable,
    explain,
    make_writable,
    publish_folder,
    remove_folder,
    sha256_file,
    write_atomic,
)
from store.errors import FolderUnusable


def test_an_atomic_write_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    file = tmp_path / "live.json"
    write_atomic(file, b"old")
    write_atomic(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "live.json"
    write_atomic(file, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_published_folder_is_never_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file").write_text(name)
    publish_folder(tmp_path / "one", tmp_path / "final")
    with pytest.raises(FileExistsError, match="exists already"):
        publish_folder(tmp_path / "two", tmp_path / "final")
    assert (tmp_path / "final" / "inner" / "file").read_text() == "one"
    assert not (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()


def test_sha256_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_file(tmp_path / "file").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_a_missing_folder_can_be_removed(tmp_path: Path) -> None:
    remove_folder(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_and_left_empty_by_the_check(tmp_path: Path) -> None:
    make_writable(tmp_path / "one" / "two")
    make_writable(tmp_path / "one" / "two")
    assert list((tmp_path / "one" / "two").iterdir()) == []


def test_a_folder_that_takes_no_files_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match=r"file/below can't be made: .*not a directory"):
        make_writable(tmp_path / "file" / "below")
    with pytest.raises(FolderUnusable, match=r"file can't be made: .*exists"):
        make_writable(tmp_path / "file")
    with pytest.raises(FolderUnusable, match="absent can't be written to: no such file"):
        check_writable(tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(FolderUnusable, match="permission denied"):
        check_writable(tmp_path)


def test_what_the_system_refused_is_said_without_its_number() -> None:
    assert explain(FileNotFoundError(2, "No such file", "a")) == "a: no such file"
    assert explain(OSError(18, "Cross-device link", "a", None, "b")) == "a -> b: cross-device link"
    assert explain(OSError(28, "No space left on device")) == "No space left on device"
    assert explain(OSError("anything")) == "anything"
