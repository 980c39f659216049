"""The lock files in requirements/: pinned by hash, what pyproject.toml asks for, and complete."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
DEPENDENCIES = PROJECT["project"]["dependencies"]
LOCKS = {
    "build": [*GROUPS["build"], *PROJECT["build-system"]["requires"]],
    "dev": [*DEPENDENCIES, *GROUPS["test"], *GROUPS["lint"]],
    "runtime": DEPENDENCIES,
}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def entries(name):
    """Return the entries of a lock file, as lists: a requirement, then its hashes."""
    text = (ROOT / f"requirements/{name}.lock").read_text()
    return [[part.strip() for part in entry.split(" \\\n")] for entry in re.split(r"\n(?! )", text.strip())]


def pinned(name):
    """Return the version of each package in a lock file."""
    found = [Requirement(requirement) for requirement, *_ in entries(name)]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}


def test_every_lock_file_is_known():
    assert {path.name for path in (ROOT / "requirements").iterdir()} == {f"{name}.lock" for name in LOCKS}


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_to_one_version_by_hashes_and_from_nowhere_else(name):
    for requirement, *hashes in entries(name):
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+( ; .+)?", requirement), requirement
        assert hashes, requirement
        assert all(HASH.fullmatch(one) for one in hashes), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_lock_file_has_what_is_asked_for(name):
    """If this fails: `make lock`."""
    versions = pinned(name)
    for text in LOCKS[name]:
        asked = Requirement(text)
        assert asked.specifier.contains(versions[canonicalize_name(asked.name)]), text


def test_tests_run_with_the_packages_of_the_image():
    assert pinned("runtime").items() <= pinned("dev").items()


def test_lock_file_has_what_its_packages_ask_for():
    """As far as the packages that are installed here are the pinned ones."""
    versions = pinned("dev")
    compared = 0
    for name, version in versions.items():
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform, or Python
        if installed.version != version:
            continue
        for needed in map(Requirement, installed.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                found = versions[canonicalize_name(needed.name)]
                assert needed.specifier.contains(found, prereleases=True), (name, str(needed))
                compared += 1
    assert compared


def test_image_and_ci_install_by_hash_only():
    image = (ROOT / "configs/Dockerfile").read_text().replace("\\\n", " ")
    for line in image.splitlines():
        for command in re.findall(r"pip (?:install|wheel) [^&]*", line):
            assert {"--require-hashes", "--no-deps"} & set(command.split()), command
            assert {"--no-build-isolation", "--no-index"} & set(command.split()) or "build.lock" in command, command
    assert "LOCKED ?= $(CI)" in (ROOT / "Makefile").read_text()
    assert "export CI=true" in (ROOT / ".ci/run").read_text()
