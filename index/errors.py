"""Errors of the index, and whose fault each one is.

IndexingError
├── RequestError                 the caller's fault; `pointer` says where in the request
│   ├── InvalidRequest           a parameter out of its range
│   ├── InvalidEvents            events that can't be read as a sequence
│   ├── InvalidVector
│   │   ├── DimensionMismatch    a vector of another length
│   │   └── NotAVector           not finite, or all zero
│   └── SpaceMismatch            a vector of another encoder
├── BuildError                   the operator's
│   ├── NoLiveBuild              nothing was published yet
│   ├── BuildMissing             no build of this id
│   ├── BuildNotServable         a refused or half-written build was to be promoted
│   ├── BuildNotLive             the build to take back is not the live one
│   ├── BuildIncompatible        written by a version of another format
│   ├── NothingToRollBack        there is no previous build, or no longer
│   ├── PublishBusy              another publish holds the lock
│   ├── TooFewLabels             not enough labels to fit a risk model on
│   ├── KindUnavailable          a kind of index whose library or processor is not here
│   ├── RiskUnavailable          the build was made without a risk model
│   └── PurposeUnavailable       the build was made without weights for the purpose
├── MilvusError                  the vector database's, or of how it is set up
│   ├── MilvusNotConfigured      no address, or no client: a build needs it
│   ├── MilvusUnavailable        the server is away, or takes too long
│   ├── CollectionMissing        the server has no such collection, or has not loaded it
│   ├── CollectionInvalid        it holds other vectors than those of its build
│   └── AliasNotMoved            the alias still answers from another collection
├── BuildCorrupt                 the disk's: a file is missing, cut or changed
└── BuildInvalid                 ours: what was handed over to be written can't be a build
"""


class IndexingError(Exception):
    """Anything that goes wrong in `index`."""


class RequestError(IndexingError):
    """The caller's fault.

    Attributes:
        pointer: Path of the faulty part in the request, such as `events/3/ts`; empty for all of it.
        item: Position of the faulty query among those of the call.
    """

    def __init__(self, message: str, *, pointer: str = "", item: int = 0) -> None:
        super().__init__(message)
        self.pointer = pointer
        self.item = item


class InvalidRequest(RequestError):
    """A parameter is out of its range."""


class InvalidEvents(RequestError):
    """Events that can't be read as a sequence."""


class InvalidVector(RequestError):
    """An array that no search can start from."""


class DimensionMismatch(InvalidVector):
    """A vector of another length than those of the index."""


class NotAVector(InvalidVector):
    """A vector that isn't finite, or is all zero."""


class SpaceMismatch(RequestError):
    """A vector of another space than the build's; two spaces never meet."""


class BuildError(IndexingError):
    """The operator's fault, or nobody's: the build that was asked for can't be had."""


class NoLiveBuild(BuildError):
    """Nothing was published yet."""


class BuildMissing(BuildError):
    """There is no build of this id."""


class BuildNotServable(BuildError):
    """A build that was refused, or never finished, was to be promoted."""


class BuildNotLive(BuildError):
    """A build was to be taken back that is not, or no longer, the live one."""


class BuildIncompatible(BuildError):
    """The build was written in a format that this version does not read."""


class NothingToRollBack(BuildError):
    """There is no previous build, or no longer."""


class PublishBusy(BuildError):
    """Another publish held the lock for longer than we wait."""


class TooFewLabels(BuildError):
    """There are not enough labels to fit a risk model on; a build can do without."""


class KindUnavailable(BuildError):
    """The kind of index needs a library that is not installed, or another processor."""


class RiskUnavailable(BuildError):
    """The build was made without a risk model."""


class PurposeUnavailable(BuildError):
    """The build was made without weights for the purpose of a query."""


class MilvusError(IndexingError):
    """A call to Milvus failed; the message says which and why."""


class MilvusNotConfigured(MilvusError):
    """A build is in Milvus, and no address or no client library is there to reach it."""


class MilvusUnavailable(MilvusError):
    """The server can't be reached, or did not answer in time."""


class CollectionMissing(MilvusError):
    """The server has no collection of this name, or has not loaded it into memory."""


class CollectionInvalid(MilvusError):
    """A collection holds other vectors than the build that it is named for."""


class AliasNotMoved(MilvusError):
    """The alias was swung, and still answers from another collection; it was swung back."""


class BuildCorrupt(IndexingError):
    """A file of the build is missing, cut or changed since it was written."""


class BuildInvalid(IndexingError):
    """What was handed over to be written can't be a build."""
