"""Hostile files: every row is kept, rejected or a duplicate, or the file is refused in one line."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from store.errors import IngestError
from store.lake import EventLake
from store.workspace import Workspace
from tests.integration.store.files import NOW, ingest

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from(["1", "2024-01-01", "1e999", "nan", "-0", "\0"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
json_rows = st.dictionaries(
    st.sampled_from(["user_id", "ts", "event_type", "event_id", "page", 'k"ey', "leak_x"]),
    json_values,
)
json_lines = st.lists(
    st.one_of(
        st.builds(
            lambda row, base: json.dumps(base | row).encode(),
            json_rows,
            st.just({"user_id": "al", "ts": 1, "event_type": "click"}),
        ),
        st.binary(max_size=20),
    ),
    max_size=8,
)
csv_fields = st.one_of(
    st.sampled_from(["al", "1", "click", "2024-01-01", '"', '""', ",", "\r", "", " "]),
    st.text(max_size=6),
)
csv_lines = st.lists(st.lists(csv_fields, max_size=5), max_size=8).map(
    lambda rows: [",".join(row).encode(errors="surrogatepass") for row in rows]
)


def check(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "workspace")
        file = Path(folder) / name
        file.write_bytes(content)
        lake = EventLake(workspace)
        try:
            report: Any = ingest(workspace, file)
        except IngestError as error:
            message = str(error)
            num_kept = 0
        else:
            message = str(file)
            num_kept = report.num_kept
            parts = report.num_kept + report.num_rejected + report.num_duplicates
            assert parts == report.num_rows > 0
        assert str(file) in message
        assert "\n" not in message
        assert sum(len(batch.ts_us) for batch in lake.batches(as_of=NOW)) == num_kept
        assert list(workspace.temporary_dir.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(json_lines)
def test_any_json_lines_are_kept_rejected_or_refused(lines: list[bytes]) -> None:
    check("events.jsonl", b"\n".join(lines))


@settings(max_examples=40, deadline=None)
@given(csv_lines)
def test_any_csv_lines_are_kept_rejected_or_refused(lines: list[bytes]) -> None:
    check("events.csv", b"\n".join([b"user_id,ts,event_type,page", *lines]))
