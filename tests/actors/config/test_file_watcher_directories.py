import shutil

from clusterf.config.model import BackendKey, FrontendKey
from tests.actors.support.watched_tree import KEY, PATH, with_weight
from tests.waiting import wait_until


def test_deleted_directory_deletes_its_keys(tree):
    for number in range(50):
        tree.write(with_weight(1), f"services/web/backends/{number}")
    tree.write("{}", "services/other/frontend")
    tree.start().synced()
    shutil.rmtree(tree.root / "services/web")
    wait_until(lambda: tree.recorder.state.keys() == {FrontendKey(b"other")})


def test_directory_moved_out_and_in_is_followed(tree, tmp_path):
    tree.write(with_weight(1))
    tree.write(with_weight(2), "services/web/backends/2")
    tree.start().synced()
    web = tree.root / "services/web"
    web.rename(tmp_path / "away")
    wait_until(lambda: not tree.recorder.state)
    tree.write(with_weight(5), "away/backends/1", tmp_path)
    (tmp_path / "away").rename(web)
    wait_until(lambda: len(tree.recorder.state) == 2 and tree.weight() == 5)
    tree.write(with_weight(6))
    wait_until(lambda: tree.weight() == 6)


def test_renamed_directory_is_another_service(tree):
    tree.write(with_weight(1))
    tree.start().synced()
    (tree.root / "services/web").rename(tree.root / "services/web2")
    wait_until(lambda: tree.recorder.state.keys() == {BackendKey(b"web2", b"1")})


def test_deep_directory_created_at_once_is_followed(tree):
    tree.start().synced()
    for number in range(30):
        tree.write(with_weight(number), f"services/s{number}/backends/b{number}")
    wait_until(lambda: len(tree.recorder.state) == 30)
    tree.write(with_weight(77), "services/s7/backends/b7")
    wait_until(lambda: tree.weight(BackendKey(b"s7", b"b7")) == 77)


def test_hidden_names_are_ignored(tree):
    tree.start().synced()
    tree.write("{", "services/web/.frontend.swp")
    tree.write("{", ".git/services/web/frontend")
    tree.write(with_weight(1))
    wait_until(lambda: tree.weight() == 1)
    wait_until(lambda: tree.recorder.state.keys() == {KEY})


def test_root_that_is_a_symlink_is_followed_when_its_target_changes(tree, tmp_path):
    for number in (1, 2):
        tree.write(with_weight(number), root=tmp_path / f"target{number}")
    tree.root.rmdir()
    tree.root.symlink_to("target1")
    tree.start().synced()
    assert tree.weight() == 1
    (tmp_path / "link").symlink_to("target2")
    (tmp_path / "link").rename(tree.root)
    wait_until(lambda: tree.weight() == 2)
    tree.write(with_weight(3), root=tmp_path / "target2")
    wait_until(lambda: tree.weight() == 3)
    assert tree.published_weights() == [1, 2, 3]


def test_kubernetes_volume_is_followed(tree):
    # the files are links by way of `..data`, which is renamed over to change them all at once
    for number in (1, 2):
        tree.write(with_weight(number), f"..{number}/{PATH}")
    (tree.root / "..data").symlink_to("..1")
    (tree.root / "services").symlink_to("..data/services")
    tree.start().synced()
    assert tree.weight() == 1
    (tree.root / "..data_tmp").symlink_to("..2")
    (tree.root / "..data_tmp").rename(tree.root / "..data")
    wait_until(lambda: tree.weight() == 2, timeout=3)
    tree.write(with_weight(3), f"..2/{PATH}")
    wait_until(lambda: tree.weight() == 3, timeout=3)


def test_symlink_loop_is_harmless(tree):
    (tree.root / "services").mkdir()
    (tree.root / "services/loop").symlink_to("loop")
    (tree.root / "services/up").symlink_to("..")
    tree.write(with_weight(1))
    tree.start().synced()
    assert tree.weight() == 1
    tree.write(with_weight(2))
    wait_until(lambda: tree.weight() == 2)


def test_replaced_root_is_followed(tree, tmp_path):
    tree.write(with_weight(1))
    tree.write(with_weight(1), "services/web/backends/2")
    tree.start().synced()
    tree.write(with_weight(2), root=tmp_path / "new")
    tree.root.rename(tmp_path / "old")
    (tmp_path / "new").rename(tree.root)
    wait_until(lambda: tree.weight() == 2 and len(tree.recorder.state) == 1)
    tree.write(with_weight(3))
    wait_until(lambda: tree.weight() == 3)
