import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from index.choice import Choice
from index.config import IndexConfig
from index.errors import BuildCorrupt, BuildIncompatible
from index.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    PIECE_BYTES,
    FileSpec,
    Manifest,
    checksum,
    describe_files,
    read_manifest,
    verify_files,
    write_manifest,
)
from store.durable import sha256_file
from tests.index_fakes import BLOCKS, NOW


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.bin").write_bytes(b"abc")
    (tmp_path / "inner" / "b.bin").write_bytes(b"")
    return tmp_path


def manifest_of(folder: Path, format_version: int = FORMAT_VERSION) -> Manifest:
    return Manifest(
        format_version=format_version,
        build_id="b1",
        space_id="s",
        model_digest="d",
        created_at=NOW,
        data_as_of=NOW,
        num_users=1,
        num_violators=0,
        num_distinct=1,
        dim=12,
        index="exact",
        effort=None,
        refine=None,
        choice=Choice(reason="few users"),
        hub_corrected=True,
        blocks=BLOCKS,
        config=IndexConfig(),
        made_with={"seed": 1},
        files=describe_files(folder),
    )


def test_manifest_comes_back_as_it_was_written(folder: Path) -> None:
    manifest = manifest_of(folder)
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest
    assert list(manifest.files) == ["a.bin", "inner/b.bin"]
    verify_files(folder, manifest)


def test_every_single_flipped_byte_of_the_manifest_is_seen(folder: Path) -> None:
    write_manifest(folder, manifest_of(folder))
    path = folder / MANIFEST_FILE
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(BuildCorrupt):
            read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"digest": 1}', b"\xff"])
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(BuildCorrupt):
        read_manifest(folder)


def test_missing_manifest_is_refused(folder: Path) -> None:
    with pytest.raises(BuildCorrupt, match="manifest"):
        read_manifest(folder)


def test_another_format_is_named(folder: Path) -> None:
    write_manifest(folder, manifest_of(folder, format_version=99))
    with pytest.raises(BuildIncompatible, match="format 99"):
        read_manifest(folder)


def test_fields_are_checked_even_if_the_digest_fits(folder: Path) -> None:
    write_manifest(folder, manifest_of(folder).model_copy(update={"dim": None}))
    with pytest.raises(BuildCorrupt, match="no manifest"):
        read_manifest(folder)


def test_changed_cut_missing_and_foreign_files_are_named(folder: Path) -> None:
    manifest = manifest_of(folder)
    (folder / "a.bin").write_bytes(b"abd")
    with pytest.raises(BuildCorrupt, match=r"a\.bin was changed"):
        verify_files(folder, manifest)
    (folder / "a.bin").write_bytes(b"ab")
    with pytest.raises(BuildCorrupt, match=r"a\.bin has 2 bytes instead of 3"):
        verify_files(folder, manifest)
    (folder / "a.bin").unlink()
    with pytest.raises(BuildCorrupt, match=r"a\.bin is missing"):
        verify_files(folder, manifest)
    (folder / "a.bin").write_bytes(b"abc")
    (folder / "c.bin").write_bytes(b"")
    with pytest.raises(BuildCorrupt, match=r"c\.bin does not belong"):
        verify_files(folder, manifest)


def test_a_large_file_is_hashed_in_pieces_and_a_byte_of_any_of_them_counts(tmp_path: Path) -> None:
    path, size = tmp_path / "large.bin", 2 * PIECE_BYTES + 5
    content = np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    pieces = [content[start : start + PIECE_BYTES] for start in range(0, size, PIECE_BYTES)]
    expected = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces))
    assert checksum(path) == expected.hexdigest()
    seen = {expected.hexdigest()}
    for place in (0, PIECE_BYTES - 1, PIECE_BYTES, size - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        seen.add(checksum(path))
    assert len(seen) == 5


def test_files_of_a_build_of_format_2_are_verified_by_the_hash_of_their_content(
    folder: Path,
) -> None:
    files = {
        name: FileSpec(size=one.size, sha256=sha256_file(folder / name))
        for name, one in describe_files(folder).items()
    }
    write_manifest(folder, manifest_of(folder, 2).model_copy(update={"files": files}))
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    (folder / "a.bin").write_bytes(b"abd")
    with pytest.raises(BuildCorrupt, match=r"a\.bin was changed"):
        verify_files(folder, manifest)


def test_manifest_is_plain_json(folder: Path) -> None:
    write_manifest(folder, manifest_of(folder))
    fields = json.loads((folder / MANIFEST_FILE).read_bytes())
    assert fields["format_version"] == FORMAT_VERSION
    assert fields["config"]["m"] == IndexConfig().m
