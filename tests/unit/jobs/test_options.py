import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from api.schemas import NeighborsRequest
from jobs.options import markdown_text, sections, toml_text
from jobs.settings import Settings, section_names
from store.errors import SettingsInvalid

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def leaves(model: type[BaseModel], prefix: str) -> list[str]:
    """Return the dotted names of all options of a model."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += leaves(kind, f"{prefix}.{field.alias or name}")
        else:
            found.append(f"{prefix}.{field.alias or name}")
    return [name.lstrip(".") for name in found]


def write(folder: Path, text: str) -> Path:
    file = folder / "lookalike.toml"
    file.write_text(text)
    return file


def test_the_file_lists_every_option_and_reads_back_as_the_defaults(tmp_path: Path) -> None:
    text = toml_text()
    listed = {
        f"{section.name}.{option.name}".lstrip(".")
        for section in sections()
        for option in section.options
    }
    listed |= {section.name for section in sections()}
    assert set(leaves(Settings, "")) <= listed
    for section in sections():
        assert not section.name or f"\n[{section.name}]\n" in text
        for option in section.options:
            assert re.search(rf"^(# )?{option.name} =", text, re.MULTILINE), option.name
            assert len(option.meaning) > 8, f"{section.name}.{option.name} is not explained"
    assert Settings.read(write(tmp_path, text)) == Settings()


def test_the_document_is_what_the_settings_say() -> None:
    assert DOCUMENT.read_text() == markdown_text(), (
        "run: python -m jobs.options > docs/configuration.md"
    )


def test_the_variables_that_are_given_as_examples_set_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_document = re.search(r"a table within a section is `(\w+)`", markdown_text())
    in_file = re.search(r"as in\n# (\w+)=9000", toml_text())
    assert in_document
    assert in_file
    monkeypatch.setenv(in_document[1], "http://milvus:19530")
    monkeypatch.setenv(in_file[1], "9000")
    settings = Settings.read(write(tmp_path, toml_text()))
    assert settings.index.milvus.uri == "http://milvus:19530"
    assert settings.serve.port == 9000


@pytest.mark.parametrize("option", ["query_events_max", "query_string_chars_max"])
def test_the_service_accepts_as_much_as_the_settings_allow(tmp_path: Path, option: str) -> None:
    """More than the schema of a request takes is refused, not passed over."""
    most = Settings().index.model_dump()[option]
    schema = NeighborsRequest.model_json_schema()["$defs"]
    events = schema["QueryBody"]["properties"]["events"]["anyOf"][0]["maxItems"]
    string = schema["EventBody"]["additionalProperties"]["anyOf"][0]["maxLength"]
    assert most == {"query_events_max": events, "query_string_chars_max": string}[option]
    with pytest.raises(SettingsInvalid, match=option):
        Settings.read(write(tmp_path, f"[index]\n{option} = {most + 1}\n"))


def test_no_line_of_the_file_is_too_wide() -> None:
    assert max(map(len, toml_text().splitlines())) <= 100


def test_an_empty_file_and_a_missing_one_mean_the_defaults(tmp_path: Path) -> None:
    assert Settings.read(write(tmp_path, "")) == Settings()
    assert Settings.read(tmp_path / "absent.toml") == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[idnex]\nm = 4", "there is no section [idnex]"),
        ("[index]\nmm = 4", "[index] has no option 'mm'"),
        ("[embedder.featurizer]\nhash = 4", "[embedder] has no option 'featurizer.hash'"),
        ("[index]\nm = 1", "[index] m: input should be greater than or equal to 4"),
        ("[serve]\nport = 70000", "[serve] port: input should be less than or equal to 65535"),
        ("[index]\nm = 'four'", "[index] m: input should be a valid integer"),
        ("[index\n", "lookalike.toml: "),
        (
            "[risk.likely_precision_by_policy]\nspam = 1.5",
            "[risk] likely_precision_by_policy.spam: input should be less than 1",
        ),
        ("index = 3", "[index]: input should be"),
        ("database_url = 3", "database_url: input should be a valid string"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        Settings.read(write(tmp_path, text))
    assert message in str(caught.value)
    assert str(caught.value).startswith("lookalike.toml: ")
    assert "\n" not in str(caught.value)


def test_a_variable_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "[index]\nm = 8\nef_search = 99\n[schema]\ntarget = 'page'")
    monkeypatch.setenv("LOOKALIKE_INDEX__M", "24")
    monkeypatch.setenv("LOOKALIKE_SCHEMA__TARGET", "item")
    monkeypatch.setenv("LOOKALIKE_EMBEDDER__FEATURIZER__NUMBER_KNOTS", "8")
    settings = Settings.read(file)
    assert (settings.index.m, settings.index.ef_search) == (24, 99)
    assert settings.schema_.target == "item"
    assert settings.embedder.featurizer.number_knots == 8


def test_a_policy_has_its_precision_in_the_file_or_in_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, '[risk.likely_precision_by_policy]\nspam = 0.99\n"Ban evasion" = 0.9')
    assert Settings.read(file).risk.likely_precision_by_policy == {
        "spam": 0.99,
        "Ban evasion": 0.9,
    }
    monkeypatch.setenv("LOOKALIKE_RISK__LIKELY_PRECISION_BY_POLICY", '{"Scam": 0.8}')
    alone = Settings.read(tmp_path / "absent.toml")
    assert alone.risk.likely_precision_by_policy == {"Scam": 0.8}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LOOKALIKE_IDNEX__M", "4", "LOOKALIKE_IDNEX__M names no section"),
        ("LOOKALIKE_INDEX__M", "1", "[index] m: input should be greater"),
        ("LOOKALIKE_INDEX__MM", "1", "[index] has no option 'mm'"),
    ],
)
def test_a_mistaken_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=re.escape(message)):
        Settings.read(tmp_path / "absent.toml")


def test_sections_are_those_of_the_design() -> None:
    expected: Any = ("ingest", "schema", "embedder", "index", "gate", "risk", "rings")
    assert section_names() == (*expected, "evaluate", "serve")


def test_unset_options_are_shown_and_not_set() -> None:
    assert "\n# target =\n" in toml_text()
    assert "target" not in tomllib.loads(toml_text())["schema"]
