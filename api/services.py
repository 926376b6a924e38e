"""What the endpoints of one worker share."""

from dataclasses import dataclass

from api.audit import AuditWriter
from api.logs import UserHasher
from api.metrics import ServiceMetrics
from api.scopes import ServedKeys
from api.work import WorkPool
from index.live import LiveService
from index.milvus.collections import MilvusCollections
from index.serve_config import ServeConfig
from store.workspace import Workspace


@dataclass(frozen=True)
class Services:
    """Everything a request may need; made once per worker.

    Attributes:
        work: For what keeps a processor busy.
        remote: For what waits for a vector database.
        collections: Where builds have collections; None without a Milvus server.
    """

    config: ServeConfig
    secret: str
    workspace: Workspace
    live: LiveService
    keys: ServedKeys
    audit: AuditWriter
    work: WorkPool
    remote: WorkPool
    metrics: ServiceMetrics
    hash_user: UserHasher
    collections: MilvusCollections | None = None
