"""Rules of the code as a whole; `ARCHITECTURE.md` names the test that holds each invariant."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("store", "embedder", "index", "api", "jobs", "benchmarks")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
HEAVY = {"torch", "faiss", "duckdb", "sqlalchemy", "pyarrow", "sklearn", "matplotlib", "fastapi"}
HEAVY |= {"pymilvus", "grpc", "rabitqlib"}


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def roots_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=module_id)
def test_module_keeps_the_rules_of_size_and_imports(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) <= MODULE_LINES_MAX
    assert path.stem not in VAGUE_NAMES
    assert not roots_of(path) & PICKLES, "nothing is pickled anywhere"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"
        if isinstance(node, ast.Import):
            ours = {alias.name for alias in node.names} & set(PACKAGES)
            assert not ours, "names are imported, not packages: theirs are common words"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "torch.load"):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert keywords.get("allow_pickle") == "False", ast.unparse(node)


def test_init_modules_hold_a_docstring_and_nothing_else() -> None:
    for path in modules(*PACKAGES):
        if path.name == "__init__.py":
            (only,) = ast.parse(path.read_text()).body
            assert isinstance(only, ast.Expr), module_id(path)


def test_every_test_folder_is_a_package() -> None:
    """Without `__init__.py` a folder `tests/unit/index` would hide our package `index`."""
    folders = {path.parent for path in modules("tests")}
    assert [f for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_faiss_is_imported_by_the_index_types_alone() -> None:
    ours = modules(*(package for package in PACKAGES if package != "benchmarks"))
    users = {module_id(path) for path in ours if "faiss" in roots_of(path)}
    assert users == {
        "index/centroids.py",
        "index/faiss_files.py",
        "index/growing.py",
        "index/hnsw.py",
        "index/inverted_file.py",
        "index/ivf.py",
        "index/mapped_lists.py",
        "index/products.py",
        "index/stages.py",
    }


def test_milvus_is_imported_by_its_client_alone() -> None:
    ours = modules(*(package for package in PACKAGES if package != "benchmarks"))
    users = {module_id(path) for path in ours if "pymilvus" in roots_of(path)}
    assert users == {"index/milvus/client.py"}


def test_rabitqlib_is_imported_by_its_index_type_alone() -> None:
    ours = modules(*(package for package in PACKAGES if package != "benchmarks"))
    users = {module_id(path) for path in ours if "rabitqlib" in roots_of(path)}
    assert users == {"index/symqg.py"}


def test_layers_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_help_is_answered_without_heavy_libraries() -> None:
    loaded = loaded_by("from jobs.cli import run\nrun(['train', '--help'])")
    assert not loaded & HEAVY


def test_reading_the_lake_never_loads_torch() -> None:
    assert "torch" not in loaded_by("from store.lake import EventLake")


def test_the_wheel_has_the_packages_and_no_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == list(PACKAGES)


def test_every_dependency_is_pinned_exactly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = chain.from_iterable(project["optional-dependencies"].values())
    wanted = [*project["dependencies"], *extras]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    pinned = {canonical(pin.partition("==")[0]) for pin in pins}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    names = {canonical(re.split(r"[\[<>=]", requirement)[0]) for requirement in wanted}
    assert names - {"lookalike"} <= pinned


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("package", ["store", "embedder", "index", "api", "jobs"])
def test_every_error_is_in_the_tree_of_its_package(package: str) -> None:
    module = importlib.import_module(f"{package}.errors")
    errors = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__ == module.__name__
    ]
    tree = module.__doc__ or ""
    assert [name for name in errors if not re.search(rf"\b{name}\b", tree)] == []


def test_no_notes_to_self_and_no_path_of_one_machine() -> None:
    forbidden = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "/wo" + "rk/", "/ro" + "ot/")))
    texts = [*modules(*PACKAGES, "tests"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    found = [module_id(path) for path in texts if forbidden.search(path.read_text())]
    assert found == []
