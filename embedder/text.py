"""The text block: the mean sentence embedding of what a user's text columns say.

The sentence model is an optional dependency and a folder that the operator vets; nothing is ever
downloaded. A user's most recent distinct texts are read, a bounded number, so that one chatty user
costs no more than another.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedder.errors import ModelCorrupt, ModelMissing, TextModelMissing
from embedder.featurizer import column_of
from embedder.hashing import MISSING, hash_column, mix
from embedder.profiles import Floats
from store.sequences import SequenceBatch

TEXTS_PER_USER, CHARACTERS = 16, 256
STRINGS_AT_ONCE = 262_144
REMEMBERED = 2 * STRINGS_AT_ONCE


class StringMemory:
    """What a sentence model said of strings, for the same strings come again at every age.

    It holds at most `REMEMBERED` vectors and forgets all of them when more come. Threads may share
    it: at worst a string is embedded twice.
    """

    def __init__(self) -> None:
        self._vector: dict[str, Floats] = {}

    def vectors_of(
        self, texts: Sequence[str], embed: Callable[[Sequence[str]], Floats], *, dim: int
    ) -> Floats:
        """Return the vector of each text, S x `dim`; only those not yet met are embedded."""
        vectors_SD = np.empty((len(texts), dim), dtype=np.float32)
        found = [self._vector.get(text) for text in texts]
        unmet = [place for place, vector in enumerate(found) if vector is None]
        met = [place for place, vector in enumerate(found) if vector is not None]
        if met:
            vectors_SD[met] = np.stack([vector for vector in found if vector is not None])
        for first in range(0, len(unmet), STRINGS_AT_ONCE):
            some = unmet[first : first + STRINGS_AT_ONCE]
            named = [texts[place] for place in some]
            vectors_SD[some] = kept = np.asarray(embed(named), dtype=np.float32)
            if len(self._vector) + len(named) > REMEMBERED:
                self._vector = {}
            self._vector.update(zip(named, kept, strict=True))
        return vectors_SD


@dataclass(frozen=True)
class TextModel:
    """A sentence model and the rotation fitted to the texts of the training users.

    Attributes:
        columns: Text columns, read together.
        folder: Where the sentence model lies.
        fingerprint: Hash of the model's weights file; another model is another space.
        rotation: Rows project a sentence embedding to the block, W x D.
    """

    columns: tuple[str, ...]
    folder: str
    fingerprint: str
    rotation: Floats
    _memory: StringMemory = field(default_factory=StringMemory, repr=False, compare=False)

    def embed(self, batch: SequenceBatch) -> Floats:
        """Return the raw text block of each user; zero where a user has no text."""
        return sum_texts(batch, self.columns, self._vectors_of)

    def _vectors_of(self, texts: Sequence[str]) -> Floats:
        return self._memory.vectors_of(
            texts,
            lambda unmet: encode_texts(unmet, self.folder) @ self.rotation,
            dim=self.rotation.shape[1],
        )


def fit_text(batch: SequenceBatch, columns: tuple[str, ...], folder: str, *, dim: int) -> TextModel:
    """Fit the rotation on the users at hand (uncentred, as cosines are kept)."""
    means = sum_texts(batch, columns, lambda texts: encode_texts(texts, folder))
    values, vectors = np.linalg.eigh(means.T.astype(np.float64) @ means)
    kept = np.argsort(values)[::-1][: min(dim, means.shape[1])]
    basis = np.ascontiguousarray(vectors[:, kept], dtype=np.float32)
    return TextModel(columns, folder, fingerprint(folder), basis)


def sum_texts(
    batch: SequenceBatch, columns: tuple[str, ...], embed: Callable[[Sequence[str]], Floats]
) -> Floats:
    """Return the sum of the embeddings of each user's recent distinct texts, B x W."""
    texts, users = recent_texts(batch, columns)
    encoded = texts.dictionary_encode()
    vectors = embed(encoded.dictionary.to_pylist())
    sums = np.zeros((batch.num_users, vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, users, vectors[encoded.indices.to_numpy()])
    return sums


def encode_texts(texts: Sequence[str], folder: str) -> Floats:
    """Return the unit embedding of each text, cut to so many characters, S x W."""
    model = load_sentence_model(folder)
    if not texts:
        return np.zeros((0, int(model.get_embedding_dimension())), dtype=np.float32)
    vectors = model.encode(
        [text[:CHARACTERS] for text in texts],
        batch_size=128,
        show_progress_bar=False,
        normalize_embeddings=True,
    )
    return np.asarray(vectors, dtype=np.float32)


def recent_texts(
    batch: SequenceBatch, columns: tuple[str, ...]
) -> tuple[pa.StringArray, np.ndarray[Any, Any]]:
    """Return each user's latest distinct texts and the user of each."""
    user_E = np.repeat(np.arange(batch.num_users), batch.num_events)
    texts, users = [], []
    for name in columns:
        column = column_of(batch, name).combine_chunks().cast(pa.string())
        hashes = hash_column(column)
        rows = np.flatnonzero(hashes != MISSING)[::-1]
        pair = mix(hashes[rows] ^ mix(user_E[rows].astype(np.uint64) + np.uint64(1)))
        rows = np.sort(rows[np.unique(pair, return_index=True)[1]])[::-1]
        place = np.arange(len(rows)) - np.searchsorted(-user_E[rows], -user_E[rows])
        rows = rows[place < TEXTS_PER_USER]
        texts.append(column.take(pa.array(rows)))
        users.append(user_E[rows])
    return pa.concat_arrays(texts), np.concatenate(users)


@lru_cache(maxsize=2)
def load_sentence_model(folder: str) -> Any:
    """Load the sentence model from its folder, on the CPU, offline."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise TextModelMissing(
            "text needs sentence-transformers: pip install --constraint constraints.txt '.[text]' "
            "in the checkout"
        ) from error
    if not Path(folder).is_dir():
        raise TextModelMissing(f"there is no sentence model in {folder}; set embedder.text_model")
    return SentenceTransformer(folder, device="cpu", local_files_only=True)


def check_sentence_model(described: Mapping[str, Any]) -> str:
    """Return the folder of a model's sentence model, which must be the one it was trained with.

    Raises:
        ModelMissing: If it is not there.
        ModelCorrupt: If it is another one.
    """
    folder = str(described["folder"])
    if not Path(folder).is_dir():
        raise ModelMissing(
            f"the model reads text with the sentence model in {folder}, which is not there"
        )
    if fingerprint(folder) != described["fingerprint"]:
        raise ModelCorrupt(
            f"the sentence model in {folder} is not the one that the model was trained with"
        )
    return folder


@lru_cache(maxsize=8)
def fingerprint(folder: str) -> str:
    """Return a hash of the model's files, so that another model is noticed."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.suffix in {".safetensors", ".bin", ".json", ".txt"}:
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
