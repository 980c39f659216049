"""The documentation names what is there: every module, every name it points at, every log line."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
SOURCES = sorted(path for top in ("clusterf", "actors") for path in (ROOT / top).rglob("*.py"))
LEVELS = {"info", "warning", "error", "critical", "log", "end", "exception"}


def section(page: str, heading: str) -> str:
    """Return the text below a heading of the second level, up to the next one."""
    return page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def package_tables() -> dict[str, set[str]]:
    """Return the modules that the page lists, by the path of their package."""
    tables: dict[str, set[str]] = {}
    for part in re.split(r"\n### `", ARCHITECTURE)[1:]:
        package, _, text = part.partition("/`\n")
        tables[package] = set(re.findall(r"^\| `(\w+)` \|", text.split("\n## ")[0], re.MULTILINE))
    return tables


def modules() -> dict[str, set[str]]:
    """Return the modules that there are, by the path of their package."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        if path.name != "__init__.py":
            found.setdefault(str(path.parent.relative_to(ROOT)), set()).add(path.stem)
    return found


@cache
def names_in(path: Path) -> set[str]:
    """Return the names that a module defines, those of classes with what they contain."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        found |= _defined(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for inner in node.body for name in _defined(inner)}
    return found


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return set()


def test_every_module_is_in_the_table_of_its_package():
    assert package_tables() == modules()


def test_every_path_that_a_page_names_exists():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    missing = {
        (page.name, path)
        for page in pages
        for path in re.findall(r"`((?:clusterf|actors|tests|configs|docs|\.ci)/[\w/.-]*\w)`", page.read_text())
        if not (ROOT / path).exists() and "PACKAGE" not in path
    }
    assert missing == set()


def pointers(heading: str) -> Iterator[tuple[str, str]]:
    """Yield each path in a section, and each name in its file that is given behind it."""
    for row in section(ARCHITECTURE, heading).splitlines():
        for path, names in re.findall(r"`((?:clusterf|actors)/[\w/]+\.py)`((?::? `[\w.]+`,?)*)", row):
            yield from ((path, name) for name in re.findall(r"`([\w.]+)`", names) or [""])


@pytest.mark.parametrize("heading", ["Where is … decided?", "How do I add …?"])
def test_every_name_that_the_map_points_at_exists(heading):
    found = list(pointers(heading))
    assert len(found) >= 25
    assert [
        (path, name) for path, name in found if name and name not in names_in(ROOT / path) and (ROOT / path).exists()
    ] == []
    assert [path for path, _ in found if not (ROOT / path).exists()] == []


def test_there_are_answers_to_many_questions():
    assert len(re.findall(r"^\| .+ \| .+ \|$", section(ARCHITECTURE, "Where is … decided?"), re.MULTILINE)) >= 27


def passed_on() -> set[str]:
    """Return the names of functions that log an argument of theirs, so that their callers write the text."""
    found = set()
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                arguments = {argument.arg for argument in function.args.args}
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and _name(node) in LEVELS:
                        logged = {name.id for name in node.args if isinstance(name, ast.Name)}
                        found |= {function.name} if logged & arguments else set()
    return found


def _name(call: ast.Call) -> str:
    """Return the last part of the name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def log_texts() -> Iterator[tuple[str, str]]:
    """Yield each text that is logged at level info or above and says something by itself, and where."""
    logging = LEVELS | passed_on() | {"Unavailable"}  # whose text ends a start, as an error
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _name(node) in logging:
                for text in map(_text, node.args):
                    words = re.sub(r"%[-#0-9.]*[a-zA-Z]", "", text or "")
                    if text is not None and re.search(r"[a-z]{2,} [a-z]{2,}|[a-z]{3,}: [a-z]{3,}", words):
                        yield text, f"{path.relative_to(ROOT)}:{node.lineno}"


def _text(node: ast.AST) -> str | None:
    """Return a text as a format string; None for what is not one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "%s" for part in node.values)
    return None


def normalized(line: str) -> str:
    """Return a line with one and the same sign for each of its variable parts, whatever they are called."""
    line = re.sub(r"%[-#0-9.]*[a-zA-Z]", "…", line).replace("%%", "%").replace("`", "")
    return re.sub("…+", "…", re.sub(r"[A-Z][A-Z/:]*[A-Z]\b|\b[A-Z]\b", "…", line))


def listed() -> list[str]:
    """Return the lines of the guide's tables."""
    return re.findall(r"^\| `(.+?)`(?:,.*?)? \|", section(OPERATIONS, "Log lines"), re.MULTILINE)


def is_listed(text: str, rows: set[str]) -> bool:
    """Tell whether a text is a row, or a part of one that is written in several places."""
    line = normalized(text).strip("…")
    return any(line in row for row in rows)


def test_every_log_line_is_in_the_operations_guide():
    rows = set(map(normalized, listed()))
    assert {text: where for text, where in log_texts() if not is_listed(text, rows)} == {}


def test_every_line_of_the_operations_guide_is_in_the_code():
    code = " ".join(text for path in SOURCES for node in ast.walk(ast.parse(path.read_text())) if (text := _text(node)))
    code = re.sub(r"%[-#0-9.]*[a-zA-Z]", "…", code).replace("`", "")
    for row in listed():
        parts = [part.strip() for part in re.split(r"…|\d|: |[()]|\bfailures\b", normalized(row))]
        assert max(parts, key=len) in code, row
