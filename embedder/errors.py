"""Errors of the embedder.

EmbedderError
├── ModelMissing     operator: nothing is trained yet, or the named model is gone
├── ModelCorrupt     disk: a file differs from what the manifest promised
├── NotEnoughData    operator: too few users or events to train on
└── TextModelMissing operator: a text column needs a sentence model that is not there
"""


class EmbedderError(Exception):
    """Base of all errors raised by the embedder."""


class ModelMissing(EmbedderError):
    """There is no such model in the workspace."""


class ModelCorrupt(EmbedderError):
    """The files of a model are not what its manifest says."""


class NotEnoughData(EmbedderError):
    """The events visible to the training are too few to learn from."""


class TextModelMissing(EmbedderError):
    """The configured sentence model cannot be loaded."""
