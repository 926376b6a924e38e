"""The SQL that judges a source's rows as labels."""

from store.columns import VARCHAR, attributes
from store.config import IngestConfig
from store.engine import identifier, literal
from store.event_rows import has_zero_character, id_value, time_value, user_id_reasons
from store.sources import Source

REQUIRED = ("user_id", "label")
TIMES = ("occurred_at", "known_at", "revoked_at")
TEXTS = ("policy", "group", "source", "reason")
KNOWN = (*REQUIRED, *TEXTS, *TIMES)

_VIOLATOR = "('1', '1.0', 'true')"
_BENIGN = "('0', '0.0', 'false')"


def judge_labels(source: Source, config: IngestConfig, *, latest_us: int) -> str:
    """Return the SQL of labels with a `_reason`, which is null for a row that can be kept.

    Columns: `_row`, `user_id`, `label`, the texts, the times in microseconds, `extra` (JSON of the
    columns that are not ours).

    Raises:
        ColumnsRefused: If a column is of a type that can't be an id, or a time.
    """
    values = ["_row", id_value("user_id", source), f"{_label(source)}"]
    values += [f"{_text(name, source)} AS {identifier(name)}" for name in TEXTS]
    for name in TIMES:
        values += [
            f"epoch_us({_time(name, source)}) AS {name}_us",
            f"{_text(name, source)} AS {name}_text",
        ]
    values.append(f"{_extra(source)} AS extra")
    parsed = f"SELECT {', '.join(values)} FROM ({source.sql})"
    return f"SELECT *, {_reason(config, latest_us)} AS _reason FROM ({parsed})"


def _text(name: str, source: Source) -> str:
    if name not in source.types:
        return f"CAST(NULL AS {VARCHAR})"
    return f"NULLIF(trim(CAST({identifier(name)} AS {VARCHAR})), '')"


def _time(name: str, source: Source) -> str:
    if name not in source.types or source.types[name] in {"NULL", '"NULL"'}:
        return "CAST(NULL AS TIMESTAMP WITH TIME ZONE)"
    return time_value(name, source)


def _label(source: Source) -> str:
    """A float column of a data frame says nan where there is no label."""
    text = f"lower({_text('label', source)})"
    if source.types["label"] in {"DOUBLE", "FLOAT"}:
        text = f"NULLIF({text}, 'nan')"
    value = f"CASE WHEN {text} IN {_VIOLATOR} THEN 1 WHEN {text} IN {_BENIGN} THEN 0 END"
    return f"{value} AS label, {text} AS label_text"


def _extra(source: Source) -> str:
    names = sorted(attributes(source.types, required=KNOWN))
    if not names:
        return f"CAST(NULL AS {VARCHAR})"
    packed = ", ".join(f"{identifier(name)} := {identifier(name)}" for name in names)
    filled = f"json_merge_patch('{{}}', to_json(struct_pack({packed})))"
    return f"NULLIF(CAST({filled} AS {VARCHAR}), '{{}}')"


def _reason(config: IngestConfig, latest_us: int) -> str:
    cases = [
        *user_id_reasons(config),
        "WHEN label_text IS NOT NULL AND label IS NULL "
        "THEN 'label is neither 1, 0 nor empty: ' || left(label_text, 40)",
    ]
    for name in TIMES:
        shown = f"left({name}_text, 40)"
        cases += [
            f"WHEN {name}_us IS NULL AND {name}_text IS NOT NULL "
            f"THEN '{name} is not a time: ' || {shown}",
            f"WHEN {name}_us < 0 THEN '{name} is before 1970: ' || {shown}",
            f"WHEN {name}_us > {latest_us} THEN '{name} lies in the future: ' || {shown}",
        ]
    cases += [has_zero_character(name) for name in TEXTS]
    cases += [_too_long(name, config.string_chars_max) for name in (*TEXTS, "extra")]
    return f"CASE {' '.join(cases)} END"


def _too_long(name: str, chars_max: int) -> str:
    reason = literal(f"{name} is longer than {chars_max} characters")
    return f"WHEN length({identifier(name)}) > {chars_max} THEN {reason}"
