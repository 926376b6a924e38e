from pathlib import Path

import pytest

from store.durable import publish_folder, remove_folder, sha256_file, write_atomic


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
