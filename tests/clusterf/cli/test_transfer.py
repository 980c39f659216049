"""clusterf.cli.transfer: which keys and files are written."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.cli.transfer import Change, differences, make_private, write_keys, write_tree
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.transactions import OPERATIONS

KEYS = st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d"]), st.sampled_from([b"", b"1", b"2"]))


class FakeClient:
    """Holds keys, of which some have a lease; fails after `patience` transactions."""

    def __init__(self, keys: dict[bytes, bytes], patience: int = 1000, leased: frozenset[bytes] = frozenset()) -> None:
        self.keys = keys
        self.patience = patience
        self.leased = leased

    def write_unleased(self, puts, deletes) -> list[bytes]:
        free = [path for path in deletes if path not in self.leased]
        self.transact([(path, value) for path, value in puts if path not in self.leased], free)
        return [path for path in [*dict(puts), *deletes] if path in self.leased]

    def transact(self, puts, deletes, lease=0) -> int:
        if not self.patience:
            raise EtcdError("no more")
        self.patience -= 1
        self.keys |= dict(puts)
        for key in deletes:
            del self.keys[key]
        return 1


def changes(number: int, size: int = 1) -> list[Change]:
    return [Change(b"%d" % n, None, b"x" * size) for n in range(number)]


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@given(KEYS, KEYS)
def test_differences_with_prune_make_both_equal(wanted, present):
    client = FakeClient(dict(present))
    write_keys(client, differences(wanted, present, prune=True))
    assert client.keys == wanted


@given(KEYS, KEYS)
def test_differences_without_prune_delete_nothing(wanted, present):
    client = FakeClient(dict(present))
    write_keys(client, differences(wanted, present))
    assert client.keys == present | wanted


@given(KEYS, KEYS, st.frozensets(st.sampled_from([b"a", b"b", b"c", b"d"])))
def test_keys_that_got_a_lease_meanwhile_stay_as_they_are_and_are_returned(wanted, present, leased):
    client = FakeClient(dict(present), leased=leased)
    found = differences(wanted, present, prune=True)
    skipped = write_keys(client, found)
    assert client.keys == {key: value for key, value in wanted.items() if key not in leased} | {
        key: value for key, value in present.items() if key in leased
    }
    assert skipped == [change.path for change in found if change.path in leased]
    client.keys = dict(present)
    assert write_keys(client, found, leased=True) == []
    assert client.keys == wanted


@given(KEYS, KEYS)
def test_keys_to_keep_are_not_pruned(wanted, present):
    client = FakeClient(dict(present))
    write_keys(client, differences(wanted, present, prune=True, keep={b"a"}))
    assert client.keys == wanted | ({b"a": present[b"a"]} if b"a" in present and b"a" not in wanted else {})


@given(KEYS)
def test_equal_keys_make_no_difference(keys):
    assert differences(keys, keys, prune=True) == []


def test_key_to_leave_as_it_is_is_neither_written_nor_pruned():
    assert differences({b"a": None, b"b": None}, {b"a": b"1"}, prune=True) == []


def test_puts_precede_deletions_and_both_are_sorted():
    found = differences({b"c": b"", b"a": b""}, {b"b": b"", b"0": b""}, prune=True)
    assert [(change.path, change.after) for change in found] == [(b"a", b""), (b"c", b""), (b"0", None), (b"b", None)]


def test_failure_reports_how_many_changes_were_written():
    with pytest.raises(EtcdError, match=f"^{OPERATIONS} of {OPERATIONS + 5} changes written, then failed: no more$"):
        write_keys(FakeClient({}, patience=1), changes(OPERATIONS + 5))


def test_known_keys_become_files_that_end_with_a_newline(tmp_path):
    items = [
        (b"health", b"{}"),
        (b"routes/r", b""),
        (b"services/web/frontend", b"{}\n"),
        (b"services/w w/health", b"x"),
    ]
    assert list(write_tree("s", items, tmp_path)) == []
    assert files(tmp_path) == {
        "health": b"{}\n",
        "routes/r": b"",
        "services/web/frontend": b"{}\n",
        "services/w w/health": b"x\n",
    }


@pytest.mark.parametrize(
    "name", [b"new\nline", b"\xff\xfe", b"\x1b[2J", b"a\\b", b"-rf", b"~", "ü".encode(), b"x" * 255]
)
def test_strange_file_name_is_kept(tmp_path, name):
    assert list(write_tree("s", [(b"routes/" + name, b"{}")], tmp_path)) == []
    assert [os.fsencode(path.name) for path in (tmp_path / "routes").iterdir()] == [name]


@pytest.mark.parametrize(
    "path",
    [
        b"services/../../x/frontend",
        b"services/./frontend",
        b"services/../frontend",
        b"services/x/backends/..",
        b"services/.hidden/frontend",
        b"routes/..",
        b"routes/a\0b",
        b"/etc/passwd",
        b"services//frontend",
        b"../x",
        b"routes/" + b"x" * 256,
        b"",
    ],
)
def test_dangerous_name_is_refused(tmp_path, path):
    root = tmp_path / "some" / "tree"
    root.mkdir(parents=True)
    (problem,) = write_tree("s", [(path, b"{}")], root)
    assert problem.fatal
    assert problem.reason.startswith("not written: ")
    assert files(tmp_path) == {}


def test_unknown_key_is_skipped_with_a_warning(tmp_path):
    (problem,) = write_tree("s", [(b"services/web/extra", b"{}")], tmp_path)
    assert not problem.fatal
    assert files(tmp_path) == {}


def test_directory_link_out_of_the_tree_is_not_followed(tmp_path):
    root, outside = tmp_path / "tree", tmp_path / "outside"
    (root / "services").mkdir(parents=True)
    outside.mkdir()
    (root / "services/web").symlink_to(outside)
    (problem,) = write_tree("s", [(b"services/web/backends/1", b"{}")], root)
    assert "outside of" in problem.reason
    assert list(outside.iterdir()) == []


def test_link_in_place_of_a_file_is_replaced(tmp_path):
    root, outside = tmp_path / "tree", tmp_path / "outside"
    root.mkdir()
    outside.write_text("precious")
    (root / "health").symlink_to(outside)
    assert list(write_tree("s", [(b"health", b"{}")], root)) == []
    assert outside.read_text() == "precious"
    assert files(root) == {"health": b"{}\n"}


def test_unwritable_file_is_reported_and_the_others_are_written(tmp_path):
    (tmp_path / "health").mkdir()
    (problem,) = write_tree("s", [(b"health", b"{}"), (b"routes/r", b"{}")], tmp_path)
    assert "directory" in problem.reason
    assert files(tmp_path) == {"routes/r": b"{}\n"}


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_files_and_new_directories_are_for_their_owner_only(tmp_path, umask):
    before = os.umask(umask)
    try:
        make_private(tmp_path / "a/tree")
        assert list(write_tree("s", [(b"services/web/health", b"{}"), (b"health", b"{}")], tmp_path / "a/tree")) == []
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "a", *(tmp_path / "a").rglob("*"))}
    assert set(modes.values()) == {0o600, 0o700}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())
    assert (tmp_path / "a/tree/services/web/health").read_text() == "{}\n"


def test_file_of_before_becomes_private_and_a_link_in_place_of_the_draft_is_not_followed(tmp_path):
    tree, other = tmp_path / "tree", tmp_path / "other"
    tree.mkdir()
    (tree / "health").write_text("old")
    (tree / "health").chmod(0o644)
    other.write_text("other")
    (tree / f".clusterf-{os.getpid()}").symlink_to(other)
    assert list(write_tree("s", [(b"health", b"{}")], tree)) == []
    assert (tree / "health").stat().st_mode & 0o777 == 0o600
    assert other.read_text() == "other"
    assert [path.name for path in tree.iterdir()] == ["health"]
