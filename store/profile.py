"""Statistics of the visible attributes: what the inference of roles goes by."""

from dataclasses import dataclass

from store.engine import Connection, fetch_all, identifier
from store.view import View


@dataclass(frozen=True)
class ColumnStatistics:
    """What the sampled values of one attribute look like; nulls do not count.

    Attributes:
        name: The column.
        kind: Its type, as in `EventLake.columns`.
        num_values: Values that are not null.
        num_distinct: Different ones among them.
        shared_share: Share of values that several of the sampled users have.
        mean_words: Mean number of words of a string.
        spaces_share: Share of strings with a space inside.
    """

    name: str
    kind: str
    num_values: int
    num_distinct: int
    shared_share: float
    mean_words: float
    spaces_share: float


@dataclass(frozen=True)
class LakeProfile:
    """Statistics of all visible attributes, sorted by name."""

    num_events: int
    columns: tuple[ColumnStatistics, ...]


def profile_view(view: View, *, sample_events_max: int) -> LakeProfile:
    """Return statistics of every attribute of an open view.

    With more visible events than `sample_events_max`, about so many are looked at: those of
    users whose id's hash falls in a fixed share.
    """
    ((num_events,),) = fetch_all(view.connection, "SELECT count(*) FROM visible")
    one_in = max(1, -(-num_events // sample_events_max))
    columns = tuple(
        _column_statistics(view.connection, name, kind, one_in)
        for name, kind in view.columns.items()
    )
    return LakeProfile(num_events, columns)


def _column_statistics(
    connection: Connection, name: str, kind: str, one_in: int
) -> ColumnStatistics:
    """Count per value first: the words of a value are counted once, however often it occurs."""
    column = identifier(name)
    text = "CAST(value AS VARCHAR)"
    words = f"length({text}) - length(replace({text}, ' ', '')) + 1"
    ((num_values, num_distinct, num_shared, num_words, num_spaced),) = fetch_all(
        connection,
        f"WITH per_value AS (SELECT {column} AS value, count(*) AS num_rows, "
        "min(user_id) <> max(user_id) AS shared "
        f"FROM visible WHERE {column} IS NOT NULL AND hash(user_id) % {one_in} = 0 GROUP BY ALL) "
        "SELECT coalesce(sum(num_rows), 0), count(*), "
        "coalesce(sum(num_rows) FILTER (shared), 0), "
        f"coalesce(sum(num_rows * ({words})), 0), "
        f"coalesce(sum(num_rows) FILTER (contains({text}, ' ')), 0) "
        "FROM per_value",
    )
    total = max(int(num_values), 1)
    return ColumnStatistics(
        name=name,
        kind=kind,
        num_values=int(num_values),
        num_distinct=int(num_distinct),
        shared_share=int(num_shared) / total,
        mean_words=int(num_words) / total,
        spaces_share=int(num_spaced) / total,
    )
