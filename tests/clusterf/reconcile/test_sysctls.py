import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.reconcile.sysctls import RECOMMENDED, VALUES, SysctlKeeper, parse_sysctls


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "ON", " True "])
def test_word_for_yes_stands_for_the_recommended_settings(text):
    assert parse_sysctls(text) == RECOMMENDED
    assert "conntrack" not in RECOMMENDED


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "False"])
def test_word_for_no_stands_for_no_settings(text):
    assert parse_sysctls(text) == {}


def test_recommended_settings_are_those_of_the_guide():
    assert RECOMMENDED == {
        "expire_nodest_conn": 1,
        "expire_quiescent_template": 1,
        "conn_reuse_mode": 1,
        "sloppy_tcp": 1,
    }


@pytest.mark.parametrize(
    "setting",
    ["expire_nodest_conn=0", "expire_quiescent_template=0", "conn_reuse_mode=3", "conntrack=1", "sloppy_tcp=0"],
)
def test_each_setting_may_be_set(setting):
    name, _, value = setting.partition("=")
    assert parse_sysctls(setting) == RECOMMENDED | {name: int(value)}


@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(allowed) for name, allowed in VALUES.items()}))
def test_list_changes_the_recommended_settings(named):
    text = ", ".join(f"{name} = {value}" for name, value in named.items())
    if named:
        assert parse_sysctls(text) == {**RECOMMENDED, **named}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is not NAME=VALUE"),
        ("conntrack", "'conntrack' is not NAME=VALUE"),
        ("conntrack=1,", "'' is not NAME=VALUE"),
        ("sync_version=1", "'sync_version' is not one of expire_nodest_conn, "),
        ("../ip_forward=1", "is not one of"),
        ("conntrack=2", "conntrack is 0 to 1, not '2'"),
        ("conntrack=", "conntrack is 0 to 1, not ''"),
        ("conntrack=-1", "conntrack is 0 to 1, not '-1'"),
        ("conntrack=01", "conntrack is 0 to 1, not '01'"),
        ("conntrack=1=1", "conntrack is 0 to 1, not '1=1'"),
        ("conntrack=¹", "conntrack is 0 to 1"),
        ("conn_reuse_mode=4", "conn_reuse_mode is 0 to 3, not '4'"),
        ("conntrack=1,conntrack=1", "conntrack is given twice"),
    ],
)
def test_invalid_list_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError) as caught:
        parse_sysctls(text)
    assert reason in str(caught.value)


@pytest.fixture
def directory(tmp_path):
    """The directory of a kernel's settings."""
    directory = tmp_path / "vs"
    directory.mkdir()
    for name, value in {"conn_reuse_mode": 1, "sloppy_tcp": 0, "conntrack": 0}.items():
        (directory / name).write_text(f"{value}\n")
    return directory


@pytest.fixture
def logged(caplog):
    """Return what has been logged since the last call, each with its level."""
    caplog.set_level(logging.INFO)

    def logged():
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return lines

    return logged


def values(directory):
    return {file.name: file.read_text().strip() for file in directory.iterdir()}


def test_only_settings_that_differ_are_written_and_logged(directory, logged):
    untouched = (directory / "conn_reuse_mode").stat().st_mtime_ns
    keeper = SysctlKeeper({"conn_reuse_mode": 1, "sloppy_tcp": 1}, directory=directory)

    keeper.keep()

    assert values(directory) == {"conn_reuse_mode": "1", "sloppy_tcp": "1", "conntrack": "0"}
    assert (directory / "conn_reuse_mode").stat().st_mtime_ns == untouched
    assert logged() == [("INFO", "ipvs: sysctl -w net.ipv4.vs.sloppy_tcp=1  # was 0")]
    keeper.keep()
    assert logged() == []


@pytest.mark.parametrize("before", [0, 1])
def test_drift_is_repaired_and_logged(directory, logged, before):
    (directory / "sloppy_tcp").write_text(f"{before}\n")
    keeper = SysctlKeeper({"sloppy_tcp": 1}, directory=directory)
    keeper.keep()
    logged()
    (directory / "sloppy_tcp").write_text("7\n")

    keeper.keep()

    assert values(directory)["sloppy_tcp"] == "1"
    assert logged() == [
        ("WARNING", "ipvs: drift: net.ipv4.vs.sloppy_tcp was set to 7 outside clusterf, repairing"),
        ("INFO", "ipvs: sysctl -w net.ipv4.vs.sloppy_tcp=1  # was 7"),
    ]


def test_setting_that_is_missing_in_the_kernel_is_ignored_and_logged_once(directory, logged):
    keeper = SysctlKeeper({"expire_nodest_conn": 1, "sloppy_tcp": 1}, directory=directory)
    for _ in range(3):
        keeper.keep()

    assert [text for level, text in logged() if level == "WARNING"] == [
        "ipvs: net.ipv4.vs.expire_nodest_conn is missing in this kernel (ignored)"
    ]
    assert values(directory)["sloppy_tcp"] == "1"
    assert not (directory / "expire_nodest_conn").exists()


@pytest.mark.parametrize("noop", [False, True])
def test_only_what_is_missing_in_the_kernel_is_ignored(directory, logged, noop):
    SysctlKeeper({"expire_nodest_conn": 1, "sloppy_tcp": 1}, noop=noop, directory=directory).keep()
    assert [level for level, _ in logged()] == ["WARNING", "INFO"]


def test_all_settings_are_missing_in_a_kernel_without_ipvs(tmp_path, logged):
    keeper = SysctlKeeper(RECOMMENDED, directory=tmp_path / "none")
    keeper.keep()
    keeper.keep()
    assert [text.split()[1] for _, text in logged()] == [f"net.ipv4.vs.{name}" for name in RECOMMENDED]


def test_setting_that_could_not_be_written_meanwhile_is_not_reported_as_drift(directory, logged):
    keeper = SysctlKeeper({"sloppy_tcp": 0}, directory=directory)
    keeper.keep()
    (directory / "sloppy_tcp").unlink()
    (directory / "sloppy_tcp").symlink_to("/proc/version")
    with pytest.raises(OSError, match="sloppy_tcp=0"):
        keeper.keep()
    (directory / "sloppy_tcp").unlink()
    (directory / "sloppy_tcp").write_text("1\n")
    keeper.keep()
    assert logged() == [("INFO", "ipvs: sysctl -w net.ipv4.vs.sloppy_tcp=0  # was 1")]


def test_setting_that_cannot_be_written_is_an_error_after_the_others_are_written_and_is_retried(directory, logged):
    (directory / "conntrack").unlink()
    (directory / "conntrack").symlink_to("/proc/version")  # a file that cannot be written, even by root
    keeper = SysctlKeeper({"conntrack": 1, "sloppy_tcp": 1}, directory=directory)

    for _ in range(2):
        with pytest.raises(OSError, match=r"^failed: sysctl -w net\.ipv4\.vs\.conntrack=1: \w+"):
            keeper.keep()

    assert values(directory)["sloppy_tcp"] == "1"
    (directory / "conntrack").unlink()
    (directory / "conntrack").write_text("0\n")
    keeper.keep()
    assert logged()[-1] == ("INFO", "ipvs: sysctl -w net.ipv4.vs.conntrack=1  # was 0")


def test_noop_logs_once_what_it_would_set_and_sets_nothing(directory, logged):
    before = values(directory)
    keeper = SysctlKeeper({"conn_reuse_mode": 1, "sloppy_tcp": 1}, noop=True, directory=directory)
    keeper.keep()
    keeper.keep()

    assert logged() == [("INFO", "ipvs noop: sysctl -w net.ipv4.vs.sloppy_tcp=1")]
    assert values(directory) == before

    (directory / "sloppy_tcp").write_text("1\n")
    keeper.keep()
    (directory / "sloppy_tcp").write_text("0\n")
    keeper.keep()
    assert logged() == [("INFO", "ipvs noop: sysctl -w net.ipv4.vs.sloppy_tcp=1")]


def test_noop_without_ipvs_logs_all_settings(tmp_path, logged):
    keeper = SysctlKeeper(RECOMMENDED, noop=True, directory=tmp_path / "none")
    keeper.keep()
    keeper.keep()
    assert logged() == [("INFO", f"ipvs noop: sysctl -w net.ipv4.vs.{name}=1") for name in RECOMMENDED]
