"""The fitted parts of a model, before its blocks are weighted."""

from dataclasses import dataclass

from embedder.featurizer import Featurizer
from embedder.network import SliceEncoder
from embedder.opinion import Opinion
from embedder.profiles import ProfileModel
from embedder.text import TextModel


@dataclass(frozen=True)
class Parts:
    """What turns events into raw blocks; without labels there is no conduct, no opinion."""

    featurizer: Featurizer
    profiles: ProfileModel
    behavior: SliceEncoder
    conduct: SliceEncoder | None
    opinion: Opinion | None
    text: TextModel | None
