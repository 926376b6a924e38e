"""Tables of the operational database; times are microseconds since 1970 UTC."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

USER_ID_BYTES_MAX = 2_600
"""In UTF-8; a row of an index of PostgreSQL's takes 2,704 bytes."""

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")

labels = Table(
    "labels",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("content_sha256", String(64), nullable=False, unique=True),
    Column("user_id", Text, nullable=False),
    Column("label", SmallInteger),
    Column("policy", Text),
    Column("group", Text),
    Column("occurred_at_us", BigInteger),
    Column("known_at_us", BigInteger),
    Column("revoked_at_us", BigInteger),
    Column("source", Text),
    Column("reason", Text),
    Column("extra", Text),
    Column("recorded_at_us", BigInteger, nullable=False),
    Index("ix_labels_user_id", "user_id"),
    Index("ix_labels_known_at_us", "known_at_us"),
    Index("ix_labels_recorded_at_us", "recorded_at_us"),
    Index("ix_labels_revoked_at_us", "revoked_at_us"),
)

label_files = Table(
    "label_files",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("file", Text, nullable=False),
    Column("counts", Text, nullable=False),
    Column("ingested_at_us", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("revoked_at_us", BigInteger),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("at_us", BigInteger, nullable=False),
    Column("key_name", Text, nullable=False),
    Column("action", String(100), nullable=False),
    Column("subject", Text),
    Column("request_id", Text),
    Column("details", Text, nullable=False),
    Index("ix_audit_entries_subject", "subject"),
    Index("ix_audit_entries_at_us", "at_us"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("requested_at_us", BigInteger, nullable=False),
    Column("completed_at_us", BigInteger),
)
