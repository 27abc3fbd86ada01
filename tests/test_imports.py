"""Who may import whom (README, "The map of the house"); and imports that only one file may make."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("registry_metadata", "index", "encoder", "service")
MAY_IMPORT = {
    "registry_metadata": set(),
    "encoder": set(),
    "index": {"registry_metadata", "encoder"},
    "service": {"registry_metadata", "encoder", "index"},
}
ONLY_IN = {  # a library: the files or folders that may import it
    "torch": ("encoder/training/",),
    "faiss": ("index/vectors.py",),
    "starlette": ("service/",),
    "uvicorn": ("service/",),
    "duckdb": ("index/engines/",),
}
LAZY = ("astropy", "pyvo", "matplotlib", "plotly", "torch", "onnx")  # start-up of the service stays light
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a syntax tree imports, wherever the statement stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "packages are imported by their full name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imports_at_start(node: ast.AST) -> Iterator[str]:
    """What is imported when the module is: not inside functions, not for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from _imports(child)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports_at_start(child)


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _under(imported: str, name: str) -> bool:
    return imported == name or imported.startswith(f"{name}.")


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.partition(".")[0] for name in _imports(_parse(path))} & {*PACKAGES, "tests"}
    assert ours <= MAY_IMPORT[package] | {package}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Not for type checkers either; CycleError names those that do."""
    names = {_name(path).removesuffix(".py").replace("/", "."): path for path in MODULES}
    TopologicalSorter(
        {name: names.keys() & set(_imports(_parse(path))) for name, path in names.items()}
    ).prepare()


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_library_is_imported_where_it_belongs(path: Path) -> None:
    for library, places in ONLY_IN.items():
        used = any(_under(name, library) for name in _imports(_parse(path)))
        assert not used or _name(path).startswith(places), f"{library} belongs in {places}"


def test_only_the_build_trains_and_it_imports_the_trainer_late() -> None:
    users = {
        _name(path)
        for path in MODULES
        if not _name(path).startswith("encoder/training/")
        and any(_under(name, "encoder.training") for name in _imports(_parse(path)))
    }
    assert users <= {"index/training.py"}
    for user in users:
        at_start = _imports_at_start(_parse(ROOT / user))
        assert not any(_under(name, "encoder.training") for name in at_start)


def test_the_query_path_knows_nothing_of_http() -> None:
    for path in (ROOT / "service" / "query").rglob("*.py"):
        names = list(_imports(_parse(path)))
        assert not any(_under(name, "starlette") for name in names), _name(path)
        assert not any(_under(name, "service.protocols") for name in names), _name(path)


@pytest.mark.parametrize("path", [p for p in MODULES if p.relative_to(ROOT).parts[0] == "service"], ids=_name)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    heavy = [name for name in _imports_at_start(_parse(path)) if any(_under(name, lib) for lib in LAZY)]
    assert not heavy


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in (*MODULES, *(ROOT / "tests").rglob("test_*.py"))}
    assert [_name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
