"""Models on disk: `models/<space_id>/weights.safetensors` and `manifest.json`, never edited.

The space id is a hash of everything that decides what a vector is: the tensors and the description
of fields and blocks. The manifest also says what it was trained with, and the tensors' checksum.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embedder.composite import Block, Composer
from embedder.errors import ModelCorrupt, ModelMissing
from embedder.featurizer import Featurizer, SlotRange
from embedder.fields import HashedField, NumberField, VocabularyField
from embedder.network import SliceEncoder
from embedder.opinion_files import Tensors, describe_opinion, opinion_tensors, restore_opinion
from embedder.parts import Parts
from embedder.profiles import ProfileModel
from embedder.text import TextModel, check_sentence_model
from store.durable import publish_folder, remove_folder, sha256_file, write_atomic

FORMAT_VERSION = 3
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredModel:
    """A model as read from its folder."""

    parts: Parts
    composer: Composer
    manifest: Mapping[str, Any]


def write_model(
    models_dir: Path, parts: Parts, composer: Composer, *, about: Mapping[str, Any]
) -> Path:
    """Write a model and return its folder, named by its space id.

    A model that is there already (same data, seed and settings) keeps its files; trained as of an
    earlier time, its manifest takes that time, as it is now known to have seen nothing later. A
    damaged one is replaced: training again is the remedy that its error names.
    """
    tensors = tensors_of(parts, composer)
    described = describe(parts, composer)
    content = save(tensors)
    checksum = hashlib.sha256(content).hexdigest()
    space_id = space_of(checksum, described, about["schema"])
    final = models_dir / space_id
    if _is_whole(final, checksum):
        _date_back(final, as_of=str(about["as_of"]))
        return final
    remove_folder(final)
    staged = models_dir / f".{space_id}.staged"
    staged.mkdir(parents=True, exist_ok=True)
    (staged / WEIGHTS).write_bytes(content)
    manifest = {
        "format_version": FORMAT_VERSION,
        "space_id": space_id,
        **about,
        "model": described,
        "checksums": {WEIGHTS: checksum},
    }
    (staged / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    publish_folder(staged, final)
    return final


def _is_whole(directory: Path, checksum: str) -> bool:
    """Tell whether a folder holds a model with these weights, not damaged."""
    try:
        manifest = read_manifest(directory)
        stored = sha256_file(directory / WEIGHTS)
    except (ModelMissing, ModelCorrupt, OSError):
        return False
    return manifest["checksums"] == {WEIGHTS: checksum} and stored == checksum


def _date_back(directory: Path, *, as_of: str) -> None:
    """Give a model the earlier of two times that it was trained as of."""
    manifest = read_manifest(directory)
    if datetime.fromisoformat(as_of) < datetime.fromisoformat(manifest["as_of"]):
        dated = {**manifest, "as_of": as_of}
        content = json.dumps(dated, indent=1, sort_keys=True) + "\n"
        write_atomic(directory / MANIFEST, content.encode())


def space_of(checksum: str, described: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return the name of the space of some tensors and a description."""
    identity = json.dumps([described, schema, FORMAT_VERSION], sort_keys=True).encode()
    return hashlib.sha256(bytes.fromhex(checksum) + identity).hexdigest()[:12]


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return the manifest of a model.

    Raises:
        ModelMissing: If there is no model in the folder.
        ModelCorrupt: If the manifest can't be read, or lacks what every model has.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ModelMissing(f'there is no model in {directory}; run "lookalike train"')
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        version = manifest["format_version"]
        if version == FORMAT_VERSION:
            _check_promises(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(
            f"{path} is damaged ({_cause(error)}); "
            'run "lookalike train" again, or remove the folder'
        ) from error
    if version != FORMAT_VERSION:
        raise ModelCorrupt(f"{path} has format {version}, not {FORMAT_VERSION}")
    return manifest


def _check_promises(manifest: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError unless all that readers rely on is there."""
    for name in ("model", "schema"):
        if not isinstance(manifest[name], dict):
            raise TypeError(f"{name} is no object")
    bytes.fromhex(manifest["checksums"][WEIGHTS])
    for name in ("created_at", "as_of"):
        datetime.fromisoformat(manifest[name])
    if not isinstance(manifest["space_id"], str):
        raise TypeError("space_id is no string")


def _cause(error: Exception) -> str:
    """Say what is wrong with a manifest."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def read_model(directory: Path) -> StoredModel:
    """Read and verify a model: the tensors by their checksum, the description by the space id."""
    manifest = read_manifest(directory)
    weights = directory / WEIGHTS
    promised = manifest["checksums"][WEIGHTS]
    if space_of(promised, manifest["model"], manifest["schema"]) != manifest["space_id"]:
        raise ModelCorrupt(f'{directory / MANIFEST} was changed; run "lookalike train" again')
    if not weights.is_file() or sha256_file(weights) != promised:
        raise ModelCorrupt(
            f'{weights} is not what its manifest promises; run "lookalike train" again'
        )
    try:
        tensors = load(weights.read_bytes())
    except SafetensorError as error:
        raise ModelCorrupt(f"{weights} cannot be read: {error}") from error
    return StoredModel(*restore(manifest["model"], tensors), manifest)


def list_models(models_dir: Path) -> list[dict[str, Any]]:
    """Return the manifests of all models, newest first.

    A damaged one is left out with a warning: it must not keep the others from being used.
    """
    manifests = []
    for directory in _model_folders(models_dir):
        try:
            manifests.append(read_manifest(directory))
        except (ModelMissing, ModelCorrupt) as error:
            _log.warning("model %s is passed over: %s", directory.name, error)
    return sorted(
        manifests, key=lambda manifest: (manifest["created_at"], manifest["space_id"]), reverse=True
    )


def newest_model(models_dir: Path, *, as_of: datetime) -> Path:
    """Return the folder of the newest model that saw nothing at or after `as_of`.

    Raises:
        ModelMissing: If there is none.
    """
    manifests = list_models(models_dir)
    honest = [one for one in manifests if datetime.fromisoformat(one["as_of"]) <= as_of]
    if honest:
        return models_dir / str(honest[0]["space_id"])
    if manifests:
        why = "every model saw later data"
    else:
        why = "every model is damaged" if _model_folders(models_dir) else "nothing is trained yet"
    raise ModelMissing(
        f'no model as of {as_of.isoformat()}: {why}; run "lookalike train --as-of ..."'
    )


def _model_folders(models_dir: Path) -> list[Path]:
    """Return the folders that are no staged ones, by name."""
    if not models_dir.is_dir():
        return []
    return sorted(
        path for path in models_dir.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def tensors_of(parts: Parts, composer: Composer) -> Tensors:
    """Return all arrays of a model under flat names."""
    featurizer, profiles = parts.featurizer, parts.profiles
    tensors: Tensors = {
        f"vocabulary.{field.name}": field.values for field in featurizer.vocabularies
    }
    tensors |= {f"number.{field.name}": field.knots for field in featurizer.numbers}
    for field in featurizer.hashed:
        tensors[f"hashed.{field.name}.values"] = field.values
        tensors[f"hashed.{field.name}.users"] = field.document_frequency
    tensors |= {
        "profile.idf": profiles.idf_V,
        "profile.weights": profiles.field_weights,
        "profile.rotation": profiles.rotation_VD,
    }
    for role, network in networks_of(parts).items():
        tensors |= {
            f"{role}.{name}": value.cpu().numpy() for name, value in network.state_dict().items()
        }
    if parts.opinion is not None:
        tensors |= opinion_tensors(parts.opinion)
    tensors |= {f"mean.{block.name}": composer.means[block.name] for block in composer.blocks}
    if parts.text is not None:
        tensors["text.rotation"] = parts.text.rotation
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def describe(parts: Parts, composer: Composer) -> dict[str, Any]:
    """Return the JSON half of a model."""
    featurizer = parts.featurizer
    return {
        "vocabularies": [field.name for field in featurizer.vocabularies],
        "numbers": [field.name for field in featurizer.numbers],
        "hashed": [
            {"name": field.name, "num_users": field.num_users, "learned": field.learned}
            for field in featurizer.hashed
        ],
        "target": featurizer.target,
        "hash_buckets": featurizer.hash_buckets,
        "has_clock": featurizer.has_clock,
        "dim_target": parts.profiles.dim_target,
        "networks": {role: network.shape for role, network in networks_of(parts).items()},
        "blocks": [
            [block.name, block.start, block.stop, block.weight] for block in composer.blocks
        ],
        "shrink_events": composer.shrink_events,
        "purposes": composer.purposes,
        "opinion": None if parts.opinion is None else describe_opinion(parts.opinion),
        "text": None
        if parts.text is None
        else {
            "columns": list(parts.text.columns),
            "folder": parts.text.folder,
            "fingerprint": parts.text.fingerprint,
        },
    }


def restore(model: dict[str, Any], tensors: Tensors) -> tuple[Parts, Composer]:
    """Build the parts of a model from its two halves."""
    hashed = tuple(
        HashedField(
            one["name"],
            tensors[f"hashed.{one['name']}.values"],
            tensors[f"hashed.{one['name']}.users"],
            one["num_users"],
            one["learned"],
        )
        for one in model["hashed"]
    )
    featurizer = Featurizer(
        tuple(
            VocabularyField(name, tensors[f"vocabulary.{name}"]) for name in model["vocabularies"]
        ),
        tuple(NumberField(name, tensors[f"number.{name}"]) for name in model["numbers"]),
        hashed,
        model["target"],
        model["hash_buckets"],
        has_clock=model.get("has_clock", True),
    )
    fields: tuple[SlotRange, ...] = tuple(field for field in featurizer.layout if field.in_profile)
    profiles = ProfileModel(
        fields,
        hashed,
        tensors["profile.idf"],
        tensors["profile.weights"],
        tensors["profile.rotation"],
        model["dim_target"],
    )
    networks = {
        role: restore_network(role, shape, tensors) for role, shape in model["networks"].items()
    }
    blocks = tuple(Block(*values) for values in model["blocks"])
    means = {block.name: tensors[f"mean.{block.name}"] for block in blocks}
    purposes = model.get("purposes", {})  # models of before have none
    composer = Composer(blocks, means, model["shrink_events"], purposes)
    opinion = restore_opinion(model["opinion"], featurizer, tensors)
    text = restore_text(model["text"], tensors)
    return Parts(
        featurizer, profiles, networks["behavior"], networks.get("conduct"), opinion, text
    ), composer


def networks_of(parts: Parts) -> dict[str, SliceEncoder]:
    """Return the networks by role."""
    return {"behavior": parts.behavior} | (
        {} if parts.conduct is None else {"conduct": parts.conduct}
    )


def restore_network(role: str, shape: dict[str, Any], tensors: Tensors) -> SliceEncoder:
    """Build a network of a shape with its tensors."""
    network = SliceEncoder(**shape)
    prefix = f"{role}."
    network.load_state_dict(
        {
            name[len(prefix) :]: torch.from_numpy(value)
            for name, value in tensors.items()
            if name.startswith(prefix)
        }
    )
    return network


def restore_text(described: dict[str, Any] | None, tensors: Tensors) -> TextModel | None:
    """Build the text part."""
    if described is None:
        return None
    return TextModel(
        tuple(described["columns"]),
        check_sentence_model(described),
        described["fingerprint"],
        tensors["text.rotation"],
    )
