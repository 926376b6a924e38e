"""The two halves of an opinion on disk: its arrays, and what says how they are read."""

from typing import Any

import numpy as np

from embedder.featurizer import Featurizer
from embedder.opinion import Opinion
from embedder.sentences import Sentences
from embedder.summary import Summarizer
from embedder.text import check_sentence_model
from embedder.trees import Trees
from embedder.wording import Wording

Tensors = dict[str, np.ndarray[Any, Any]]


def opinion_tensors(opinion: Opinion) -> Tensors:
    """Return the arrays of the opinion under flat names."""
    summarizer = opinion.summarizer
    trees = {f"opinion.trees.{name}": value for name, value in opinion.trees.tensors().items()}
    sentences = opinion.sentences
    pca = (
        {}
        if sentences is None
        else {
            "opinion.sentences.mean": sentences.mean_W,
            "opinion.sentences.rotation": sentences.rotation_WD,
        }
    )
    return {
        "opinion.head": opinion.head_D,
        "opinion.rank": summarizer.rank_V,
        "opinion.common": summarizer.common,
        "opinion.wording": opinion.wording.weight_CV,
        **trees,
        **pca,
    }


def describe_opinion(opinion: Opinion) -> dict[str, Any]:
    """Return the JSON half of the opinion."""
    return {
        "strings": list(opinion.wording.columns),
        "sentences": describe_sentences(opinion.sentences),
        "ordered": list(opinion.summarizer.ordered),
        "named": list(opinion.summarizer.named),
        "head_bias": opinion.head_bias,
        "blend": list(opinion.blend),
    }


def restore_opinion(
    described: dict[str, Any] | None, featurizer: Featurizer, tensors: Tensors
) -> Opinion | None:
    """Build the opinion from its two halves; one from before sentences were heard hears none."""
    if described is None:
        return None
    prefix = "opinion.trees."
    trees = {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }
    of_head, of_trees, offset = described["blend"]
    return Opinion(
        Wording(tuple(described["strings"]), tensors["opinion.wording"]),
        Summarizer(
            featurizer,
            tuple(described["ordered"]),
            tuple(described["named"]),
            tensors["opinion.rank"],
            tensors["opinion.common"],
        ),
        Trees.from_tensors(trees),
        tensors["opinion.head"],
        described["head_bias"],
        (of_head, of_trees, offset),
        restore_sentences(described.get("sentences"), tensors),
    )


def describe_sentences(sentences: Sentences | None) -> dict[str, Any] | None:
    """Return the JSON half of what a sentence model tells."""
    if sentences is None:
        return None
    return {
        "columns": list(sentences.columns),
        "folder": sentences.folder,
        "fingerprint": sentences.fingerprint,
    }


def restore_sentences(described: dict[str, Any] | None, tensors: Tensors) -> Sentences | None:
    """Build it from its two halves."""
    if described is None:
        return None
    return Sentences(
        tuple(described["columns"]),
        check_sentence_model(described),
        described["fingerprint"],
        tensors["opinion.sentences.mean"],
        tensors["opinion.sentences.rotation"],
    )
