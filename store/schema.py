"""What the columns of an event mean: roles, inferred from data, overridden by the operator."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """How a column is used; a column may have two roles (a page title is target and text)."""

    CATEGORY = "category"
    NUMBER = "number"
    FLAG = "flag"
    TARGET = "target"
    TEXT = "text"
    IGNORE = "ignore"


@dataclass(frozen=True)
class Column:
    """One event column and its roles."""

    name: str
    roles: frozenset[Role]


@dataclass(frozen=True)
class EventSchema:
    """The columns a model reads, sorted by name; `event_type` is always a category."""

    columns: tuple[Column, ...]

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Return the names of the columns that have this role."""
        return tuple(column.name for column in self.columns if role in column.roles)

    @property
    def target(self) -> str | None:
        """The target column, if there is one."""
        names = self.with_role(Role.TARGET)
        return names[0] if names else None

    def to_dict(self) -> dict[str, list[str]]:
        """Return a JSON form: column name to its sorted roles."""
        return {column.name: sorted(column.roles) for column in self.columns}

    @classmethod
    def from_dict(cls, roles: dict[str, list[str]]) -> "EventSchema":
        """Read what `to_dict` wrote."""
        columns = (
            Column(name, frozenset(map(Role, values))) for name, values in sorted(roles.items())
        )
        return cls(tuple(columns))
