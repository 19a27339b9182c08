"""The rules of the house that no other tool enforces, and the layers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
MADE = {".git", ".venv", ".uv", ".hypothesis", "__pycache__", "build", "dist"}
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70

# Put together here, so that this file does not break the rule it checks.
INDEX_HOSTS = ("pypi" + ".org", "python" + "hosted.org", "proxy.golang" + ".org")
THIS_MACHINE = re.compile(r"(?<![\w.})-])/(?:work|opt/pypi|opt/wheels)/|\.\./shared/")


def files_of(*tops: str, pattern: str = "*") -> list[Path]:
    """The project's own files under `tops`, without what tools have left beside them."""
    return sorted(
        path
        for top in tops
        for path in (ROOT / top).rglob(pattern)
        if path.is_file()
        and not any(
            part in MADE or part.endswith("_cache") for part in path.relative_to(ROOT).parts
        )
    )


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


PACKAGE = files_of("fleetd", pattern="*.py")
TESTS = files_of("tests", pattern="*.py")
CODE = [*PACKAGE, *TESTS, *files_of("bench", pattern="*.py")]


def nodes_of(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def test_imports_point_down_only() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_files_stay_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in CODE}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_stay_short() -> None:
    lengths = {
        f"{name_of(path)}:{node.lineno}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in CODE
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path) for path in PACKAGE if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_test_is_skipped() -> None:
    """A test that cannot run fails: a skipped one would pass for a proof."""
    skips = [
        f"{name_of(path)}:{node.lineno}: {ast.unparse(node)}"
        for path in TESTS
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute)
        and node.attr in {"skip", "skipif", "importorskip", "xfail", "skipTest"}
        and ast.unparse(node).split(".")[0] in {"pytest", "unittest", "self"}
    ]
    assert skips == []


def test_no_file_names_a_developers_machine_or_a_package_index() -> None:
    found = []
    for path in files_of("."):
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{name_of(path)}: {host}" for host in INDEX_HOSTS if host in text]
        found += [f"{name_of(path)}: {match.group()}" for match in THIS_MACHINE.finditer(text)]
    assert found == []
