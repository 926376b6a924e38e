"""The two real data sets arrive complete, with the roles a person would give their columns."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from store.config import IngestConfig, SchemaConfig
from store.ingest import ingest_events
from store.label_ingest import ingest_labels
from store.lake import EventLake
from store.roles import infer_schema
from store.schema import Role
from store.workspace import Workspace
from tests.integration.store.files import labels_as_of

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def ingest_all(workspace: Workspace, folder: Path) -> tuple[int, int]:
    events = [folder / "events.parquet"]
    (first,) = ingest_events(workspace, events, IngestConfig(), now=NOW).files
    (again,) = ingest_events(workspace, events, IngestConfig(), now=NOW).files
    assert again.already_ingested
    assert first.num_kept == pq.read_metadata(events[0]).num_rows
    assert EventLake(workspace).summary(as_of=NOW).num_events == first.num_kept
    labels = folder / "labels.csv"
    (added,) = ingest_labels(workspace, labels, IngestConfig(), now=NOW).files
    (again,) = ingest_labels(workspace, labels, IngestConfig(), now=NOW).files
    assert again.already_ingested
    return first.num_kept, added.num_kept


def test_wiki_vandals_arrives_complete(workspace: Workspace, wiki_vandals: Path) -> None:
    assert ingest_all(workspace, wiki_vandals) == (498_180, 21_170)
    lake, labels = EventLake(workspace), labels_as_of(workspace, NOW)
    assert labels.cutoffs().num_rows == 11_197
    assert len(set(labels.table.column("group").drop_null().to_pylist())) == 63
    visible = lake.users(as_of=NOW, cutoffs=labels.cutoffs())
    assert sum(visible.column("num_events").to_pylist()) == sum(
        len(batch.ts_us) for batch in lake.batches(as_of=NOW, cutoffs=labels.cutoffs())
    )
    schema = infer_schema(lake, as_of=NOW, config=SchemaConfig())
    assert schema.target == "page"
    assert schema.with_role(Role.TEXT) == ("page",)
    assert schema.with_role(Role.CATEGORY) == ("event_type", "ns")
    assert schema.with_role(Role.FLAG) == ("self_page",)


def test_git_identities_arrives_complete(workspace: Workspace, git_identities: Path) -> None:
    assert ingest_all(workspace, git_identities) == (305_545, 15_690)
    schema = infer_schema(EventLake(workspace), as_of=NOW, config=SchemaConfig())
    assert schema.target == "main_dir"
    assert {"tz_min", "n_topdirs"} <= set(schema.with_role(Role.NUMBER))
    assert {"project", "main_ext", "subj_tag", "tz_min"} <= set(schema.with_role(Role.CATEGORY))
    assert schema.with_role(Role.TEXT) == ()
    assert labels_as_of(workspace, NOW).cutoffs().num_rows == 0
