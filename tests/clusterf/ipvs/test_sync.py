import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.ipvs.sync import SyncDaemon, SyncRole, parse_sync, start_command, stop_command

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=17)


@pytest.mark.parametrize(
    ("texts", "daemons"),
    [
        ([], []),
        (["master:eth1"], [SyncDaemon(SyncRole.MASTER, "eth1", 0)]),
        (["backup:bond0.12:255"], [SyncDaemon(SyncRole.BACKUP, "bond0.12", 255)]),
        (["both:eth1:7"], [SyncDaemon(SyncRole.MASTER, "eth1", 7), SyncDaemon(SyncRole.BACKUP, "eth1", 7)]),
        (
            ["backup:eth2:8", "master:eth1:7"],
            [SyncDaemon(SyncRole.BACKUP, "eth2", 8), SyncDaemon(SyncRole.MASTER, "eth1", 7)],
        ),
        (["master:fifteen-bytes-0"], [SyncDaemon(SyncRole.MASTER, "fifteen-bytes-0", 0)]),
    ],
)
def test_flags_are_parsed_as_daemons(texts, daemons):
    assert list(parse_sync(texts)) == daemons


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["eth1"], "eth1: needs ROLE:INTERFACE"),
        (["Master:eth1"], "needs ROLE"),
        (["slave:eth1"], "needs ROLE"),
        (["master"], "needs ROLE"),
        (["master:eth1:"], "needs ROLE"),
        (["master:eth1:-1"], "needs ROLE"),
        (["master:eth1:\u0667"], "needs ROLE"),
        (["master:eth1:7:8"], "needs ROLE"),
        (["master:eth1:7\n"], "needs ROLE"),
        (["master:eth1:256"], "syncid 256 is above 255"),
        (["master:"], "1 to 15 bytes: ''"),
        (["master:sixteen-bytes-01"], "1 to 15 bytes"),
        (["master:ÄÖÜÄÖÜÄÖ"], "1 to 15 bytes"),
        (["master:eth/1"], "invalid name"),
        (["master:eth 1"], "invalid name"),
        (["master:eth\t1"], "invalid name"),
        (["master:eth\x1b1"], "invalid name"),
        (["master:eth\udcff"], r"invalid name of an interface: 'eth\\\\xff'"),
        (["master:.."], "invalid name"),
        (["master:eth1", "master:eth2"], "more than one master"),
        (["both:eth1", "backup:eth1"], "more than one backup"),
    ],
)
def test_invalid_flags_are_refused_with_the_reason(texts, reason):
    with pytest.raises(ValueError, match=reason):
        parse_sync(texts)


@given(names)
def test_interface_name_is_kept_or_refused(name):
    try:
        (daemon,) = parse_sync([f"master:{name}:1"])
    except ValueError:
        return
    assert daemon == SyncDaemon(SyncRole.MASTER, name, 1)
    assert name.isprintable()
    assert not {*name} & {*"/: \\"}
    assert 1 <= len(name.encode()) <= 15


@pytest.mark.process
def test_commands_are_those_of_ipvsadm_and_safe_in_a_shell():
    daemon = SyncDaemon(SyncRole.MASTER, "eth1", 7)
    assert start_command(daemon) == "ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7"
    assert stop_command(SyncRole.BACKUP) == "ipvsadm --stop-daemon backup"

    command = start_command(daemon._replace(interface="$(id);'")).replace("ipvsadm", "printf %s\\\\n")
    words = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    assert words == ["--start-daemon", "master", "--mcast-interface", "$(id);'", "--syncid", "7"]
