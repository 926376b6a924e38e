"""Which roles the columns of the visible events have, where the operator does not say.

The statistics come from whole users, chosen by the hash of their id, so that a large lake costs
no more than a small one and the same view always gives the same schema.
"""

from datetime import datetime

from store.columns import BIGINT, BOOLEAN, TIMESTAMP, VARCHAR
from store.config import SchemaConfig
from store.errors import LakeEmpty, SchemaOverrideError
from store.event_rows import EVENT_ID
from store.lake import EventLake
from store.profile import ColumnStatistics
from store.schema import Column, EventSchema, Role
from store.view import Cutoffs

EVENT_TYPE = "event_type"

Roles = frozenset[Role]

_CATEGORY = frozenset({Role.CATEGORY})
_IGNORE = frozenset({Role.IGNORE})
_TEXT = frozenset({Role.TEXT})


def infer_schema(
    lake: EventLake, *, as_of: datetime, config: SchemaConfig, cutoffs: Cutoffs | None = None
) -> EventSchema:
    """Return the roles of the columns of the events visible at a time.

    Args:
        lake: The events.
        as_of: Only events before this time count.
        config: Overrides, which always win, and thresholds.
        cutoffs: Only a user's events before the user's cutoff count.

    Raises:
        LakeEmpty: If no event is visible.
        SchemaOverrideError: If an override names a column that no visible event has, or one that
            can't be an input, or makes two targets.
    """
    profile = lake.profile(as_of=as_of, cutoffs=cutoffs, sample_events_max=config.sample_events_max)
    if not profile.num_events:
        raise LakeEmpty(f"there are no events before {as_of.isoformat()}")
    _check_overrides(config, profile.columns)
    roles = {column.name: _own_roles(column, config) for column in profile.columns}
    roles |= {name: frozenset(given) for name, given in config.roles.items()}
    target = config.target or _find_target(profile.columns, roles, config)
    if target is not None:
        roles[target] = _target_roles(target, profile.columns, roles, config)
    columns = [Column(name, roles[name]) for name in roles]
    columns.append(Column(EVENT_TYPE, _CATEGORY))
    return EventSchema(tuple(sorted(columns, key=lambda column: column.name)))


def _own_roles(column: ColumnStatistics, config: SchemaConfig) -> Roles:
    """Return a column's roles as its own values suggest them; the target is chosen later."""
    if column.name == EVENT_ID or column.kind == TIMESTAMP or column.num_distinct <= 1:
        return _IGNORE
    if column.kind == VARCHAR:
        return _string_roles(column, config)
    if column.kind == BOOLEAN or (column.kind == BIGINT and column.num_distinct == 2):
        return frozenset({Role.FLAG})
    few = column.num_distinct <= config.category_integer_values_max
    many_rows = column.num_values >= config.category_integer_rows_min
    if column.kind == BIGINT and few and many_rows:
        return frozenset({Role.CATEGORY, Role.NUMBER})
    return frozenset({Role.NUMBER})


def _string_roles(column: ColumnStatistics, config: SchemaConfig) -> Roles:
    distinct_share = column.num_distinct / column.num_values
    mostly_distinct = distinct_share >= config.text_distinct_share_min
    if mostly_distinct and column.mean_words >= config.text_words_min:
        return _TEXT
    many = column.num_distinct >= config.target_values_min
    if many and distinct_share >= config.unique_share_min:
        return _TEXT if column.mean_words >= 2 else _IGNORE
    return _CATEGORY


def _find_target(
    columns: tuple[ColumnStatistics, ...], roles: dict[str, Roles], config: SchemaConfig
) -> str | None:
    """Return the column that says what events are about: many values that several users share."""
    given = [name for name, own in roles.items() if Role.TARGET in own]
    if given:
        return given[0]
    candidates = [
        column
        for column in columns
        if column.kind == VARCHAR
        and column.name not in config.roles
        and roles[column.name] == _CATEGORY
        and column.num_distinct >= config.target_values_min
        and column.shared_share >= config.target_shared_share_min
    ]
    best = max(candidates, key=lambda column: (column.num_distinct, column.name), default=None)
    return None if best is None else best.name


def _target_roles(
    target: str,
    columns: tuple[ColumnStatistics, ...],
    roles: dict[str, Roles],
    config: SchemaConfig,
) -> Roles:
    """Return the target's roles: given ones stay, and titles of several words are text too."""
    if target in config.roles:
        return roles[target] | {Role.TARGET}
    (column,) = (column for column in columns if column.name == target)
    is_title = column.spaces_share >= config.title_spaces_share_min
    return frozenset({Role.TARGET, Role.TEXT}) if is_title else frozenset({Role.TARGET})


def _check_overrides(config: SchemaConfig, columns: tuple[ColumnStatistics, ...]) -> None:
    known = {column.name for column in columns} - {EVENT_ID}
    named = [*config.roles, *([config.target] if config.target else [])]
    for name in named:
        if name not in known:
            raise SchemaOverrideError(
                f"[schema] names the column {name}, which can't be an input here; "
                f"columns are: {', '.join(sorted(known)) or 'none'}"
            )
    targets = {name for name, given in config.roles.items() if Role.TARGET in given}
    if config.target:
        targets.add(config.target)
    if len(targets) > 1:
        raise SchemaOverrideError(
            f"[schema] makes {len(targets)} columns the target: {', '.join(sorted(targets))}; "
            "there is one at most"
        )
    for name, given in config.roles.items():
        if Role.IGNORE in given and (len(given) > 1 or name == config.target):
            raise SchemaOverrideError(f"[schema] both ignores and uses the column {name}")
