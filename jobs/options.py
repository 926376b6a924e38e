"""Every option, read off the settings: as the commented `lookalike.toml`, and as a document."""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from annotated_types import Ge, Gt, Interval, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from jobs.settings import Settings, is_model
from store.settings import DELIMITER, PREFIX

WIDTH = 100
HEADER = """\
# Settings of this deployment: every option, with its meaning and its default.
# A variable {prefix}<SECTION>{delimiter}<OPTION> wins over this file, as in
# {prefix}SERVE{delimiter}PORT=9000. Times are UTC.
"""
BEFORE_SECTIONS = "Before all sections"


@dataclass(frozen=True)
class Option:
    """One option: its name, its default (None: unset), what it means and what it may be."""

    name: str
    default: Any
    meaning: str
    allowed: str


@dataclass(frozen=True)
class Section:
    """One table of the file, such as `index` or `index.milvus`; what stands before has no name."""

    name: str
    meaning: str
    options: tuple[Option, ...]


def sections() -> list[Section]:
    """Return every section with its options, in the order of the settings."""
    fields = Settings.model_fields
    plain = [_option(name, field) for name, field in fields.items() if not is_model(field)]
    found = [Section("", BEFORE_SECTIONS, tuple(plain))]
    for name, field in fields.items():
        if is_model(field):
            found.extend(_walk(field.alias or name, _model_of(field), ""))
    return found


def toml_text() -> str:
    """Return the file that `lookalike init` writes; reading it gives the defaults."""
    blocks = [HEADER.format(prefix=PREFIX, delimiter=DELIMITER)]
    for section in sections():
        head = [f"[{section.name}]", *_comment(section.meaning)] if section.name else []
        blocks.append("\n".join([*head, *map(_toml_option, section.options)]) + "\n")
    return "\n".join(blocks)


def markdown_text() -> str:
    """Return `docs/configuration.md`."""
    lines = [
        "# Configuration",
        "",
        "<!-- Made by `python -m jobs.options`; change the models, not this page. -->",
        "",
        "`lookalike init` writes all of this, commented, into `lookalike.toml`.",
        f"A variable `{PREFIX}<SECTION>{DELIMITER}<OPTION>` wins over the file,",
        f"`{PREFIX}<OPTION>` for an option before all sections;",
        f"an option of a table within a section is `{PREFIX}INDEX{DELIMITER}MILVUS{DELIMITER}URI`.",
        "An unknown section or option is an error.",
    ]
    for section in sections():
        title = (
            f"## `[{section.name}]`\n\n{section.meaning}"
            if section.name
            else f"## {section.meaning}"
        )
        lines += ["", title, ""]
        lines += ["| option | default | allowed | meaning |", "|---|---|---|---|"]
        lines += [_markdown_option(option) for option in section.options]
    return "\n".join(lines) + "\n"


def _walk(name: str, model: type[BaseModel], meaning: str) -> Iterator[Section]:
    """Yield this table, then the tables within it."""
    plain = {key: field for key, field in model.model_fields.items() if not _is_table(field)}
    options = tuple(_option(key, field) for key, field in plain.items())
    first_line = (model.__doc__ or "").partition("\n")[0]
    if options or not meaning:
        yield Section(name, meaning or first_line, options)
    for key, field in model.model_fields.items():
        if is_model(field):
            yield from _walk(f"{name}.{key}", _model_of(field), _sentence(field))
        elif _is_table(field):
            yield Section(f"{name}.{key}", _sentence(field), ())


def _is_table(field: FieldInfo) -> bool:
    return is_model(field) or isinstance(_default(field), dict)


def _model_of(field: FieldInfo) -> type[BaseModel]:
    assert isinstance(field.annotation, type)
    assert issubclass(field.annotation, BaseModel)
    return field.annotation


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True, validated_data={})
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _option(name: str, field: FieldInfo) -> Option:
    return Option(name, _default(field), _sentence(field), _allowed(field))


def _sentence(field: FieldInfo) -> str:
    """Return the field's description as a sentence."""
    text = " ".join((field.description or "").split())
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _allowed(field: FieldInfo) -> str:
    """Say which values a field takes, as far as its bounds tell."""
    signs: list[str] = []
    for bound in field.metadata:
        signs += _signs(bound)
    values = getattr(field.annotation, "__args__", ())
    if values and all(isinstance(value, str) for value in values):
        signs = [f"`{value}`" for value in values]
    return ", ".join(signs)


def _signs(bound: object) -> list[str]:
    match bound:
        case Ge(ge=value):
            return [f"≥ {value}"]
        case Gt(gt=value):
            return [f"> {value}"]
        case Le(le=value):
            return [f"≤ {value}"]
        case Lt(lt=value):
            return [f"< {value}"]
        case Interval():
            return [sign for part in bound for sign in _signs(part)]
        case _:
            return []


def _toml_option(option: Option) -> str:
    if option.default is None:
        return "\n".join([*_comment(f"{option.meaning} Unset."), f"# {option.name} ="])
    return "\n".join([*_comment(option.meaning), f"{option.name} = {toml_value(option.default)}"])


def toml_value(value: Any) -> str:
    """Write a string, number, truth value or list of them as TOML does."""
    if isinstance(value, float):
        return repr(value)
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # the one character that JSON allows and TOML does not


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _markdown_option(option: Option) -> str:
    default = "" if option.default is None else f"`{toml_value(option.default)}`"
    meaning = option.meaning.replace("|", "\\|")
    return f"| `{option.name}` | {default} | {option.allowed} | {meaning} |"


if __name__ == "__main__":
    print(markdown_text(), end="")
