"""The modules that are mutated, and the tests that have to notice."""

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["MODULES", "ROOT", "tests_of"]

ROOT = Path(__file__).resolve().parents[2]
EDGES = {"clusterf/reconcile/options.py", "clusterf/health/__init__.py"}
PURE = [
    "actors/link/published.py",
    "actors/link/received.py",
    "actors/supervision/policy.py",
    "actors/supervision/outbox.py",
]
# the laws that concern a package, besides the test modules of its modules
LAWS: Mapping[str, Sequence[str]] = {
    "clusterf/director": ["tests/clusterf/director/test_*.py"],
    "clusterf/resolve": ["tests/clusterf/resolve/test_*.py"],
    "clusterf/reconcile": ["tests/clusterf/reconcile/test_reconciler*.py"],
    "clusterf/health": ["tests/clusterf/health/test_monitor*.py"],
    "actors/link": [],
    "actors/supervision": [],
}


def _modules() -> list[str]:
    packages = ["clusterf/director", "clusterf/resolve", "clusterf/health", "clusterf/reconcile"]
    found = [path for package in packages for path in sorted((ROOT / package).glob("*.py"))]
    return [str(path.relative_to(ROOT)) for path in found if path.stem != "__init__"] + PURE


MODULES = [module for module in _modules() if module not in EDGES]


def tests_of(module: str) -> list[str]:
    """Return the test modules that mirror a module first, then those of the laws that concern it."""
    path = Path(module)
    own = sorted((ROOT / "tests" / path.parent).glob(f"test_{path.stem}*.py"))
    laws = [found for pattern in LAWS.get(str(path.parent), []) for found in sorted(ROOT.glob(pattern))]
    return [str(found.relative_to(ROOT)) for found in dict.fromkeys([*own, *laws])]
