"""What can go wrong in the store.

StoreError
├── WorkspaceMissing       operator: no workspace there yet
├── WorkspaceBusy          operator: another writer holds the lock
├── FolderUnusable         operator: a folder is no folder, or not ours to write to
├── SettingsInvalid        operator: `lookalike.toml` or a variable over it is wrong
├── IngestError
│   ├── FileUnreadable     caller: not the format it claims, empty, cut short
│   ├── ColumnsRefused     caller: a required column is missing, a name is unusable
│   └── IngestRefused      caller: too many rows were rejected
├── LakeError
│   ├── LakeCorrupt        disk: a manifest or part is damaged or gone
│   └── LakeEmpty          operator: nothing visible to work on
├── EngineFailed           operator: a query ran out of memory or disk
├── SchemaOverrideError    operator: `[schema]` names unknown columns or clashing roles
├── LabelInvalid           caller: a label that can't be stored
├── KeyNameInvalid         operator: a name no API key can have
├── KeyNameTaken           operator: an API key of this name exists
├── KeyUnknown             operator: no API key of this name
├── ScopeUnknown           operator: no such scope
└── DatabaseError          operator: the operational database can't be opened or migrated
"""


class StoreError(Exception):
    """Base of everything the store raises on purpose."""


class WorkspaceMissing(StoreError):
    """The directory is not a workspace."""


class WorkspaceBusy(StoreError):
    """Another process is writing to the lake."""


class FolderUnusable(StoreError):
    """Nothing can be written to a folder; the message names it and says why."""


class SettingsInvalid(StoreError):
    """A section, an option or a value of the settings is wrong; the message says which."""


class IngestError(StoreError):
    """A file could not be ingested; nothing of it was kept."""


class FileUnreadable(IngestError):
    """The file is empty, cut short, or not of the format its name says."""


class ColumnsRefused(IngestError):
    """The file's columns can't be used."""


class IngestRefused(IngestError):
    """More rows were rejected than the configured share allows.

    Attributes:
        num_rows: Rows of the file.
        num_rejected: Rows that could not be used.
        rejects_file: Where their line numbers and reasons are.
    """

    def __init__(
        self, message: str, *, num_rows: int, num_rejected: int, rejects_file: str
    ) -> None:
        super().__init__(message)
        self.num_rows = num_rows
        self.num_rejected = num_rejected
        self.rejects_file = rejects_file


class LakeError(StoreError):
    """The event lake can't answer."""


class LakeCorrupt(LakeError):
    """A manifest or part file is damaged or missing."""


class LakeEmpty(LakeError):
    """No event is visible at the time asked for."""


class EngineFailed(StoreError):
    """The query engine could not finish, most often for lack of memory or disk."""


class SchemaOverrideError(StoreError):
    """The configured roles don't fit the columns there are."""


class LabelInvalid(StoreError):
    """The label can't be stored."""


class KeyNameInvalid(StoreError):
    """No API key can have this name."""


class KeyNameTaken(StoreError):
    """There is an API key of this name already."""


class KeyUnknown(StoreError):
    """There is no API key of this name."""


class ScopeUnknown(StoreError):
    """There is no such scope."""


class DatabaseError(StoreError):
    """The operational database can't be opened or migrated."""
