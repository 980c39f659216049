import errno
import json
import re

import pytest
from click.testing import CliRunner
from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from clusterf.cli.doctor import finding_line
from clusterf.cli.main import main
from clusterf.doctor import facts as facts_module
from clusterf.doctor.model import Finding


@pytest.mark.parametrize("trouble", ["interfaces", "proc"])
def test_unreadable_facts_are_one_error_line(monkeypatch, tmp_path, trouble):
    async def refuse(*_, **__):
        raise NetlinkError(errno.EACCES)

    if trouble == "interfaces":
        monkeypatch.setattr(AsyncIPRoute, "link", refuse)
    else:
        monkeypatch.setattr(facts_module, "THREAD", tmp_path)
    result = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: [^\n]+\n", result.output)


@pytest.mark.parametrize("role", ["director", "real-server"])
def test_exit_status_is_1_if_a_finding_is_bad(role):
    result = CliRunner().invoke(main, ["doctor", "--json", "--role", role], catch_exceptions=False)
    findings = [Finding(**json.loads(line)) for line in result.stdout.splitlines()]
    assert {finding.level for finding in findings} <= {"ok", "warn", "bad"}
    assert result.exit_code == any(finding.level == "bad" for finding in findings)


def test_missing_vip_is_one_line_with_its_command():
    result = CliRunner().invoke(main, ["doctor", "--vip", "198.51.100.77"], catch_exceptions=False)
    assert result.exit_code == 1
    line = "bad: vip: 198.51.100.77 is on no interface: packets to it are not accepted"
    assert f"{line}; run: ip address add 198.51.100.77/32 dev lo" in result.stdout.splitlines()


@pytest.mark.parametrize(
    "arguments", [["--vip", "x"], ["--vip", "0.0.0.0"], ["--role", "cook"], ["--ipvs-sysctl", "x=1"]]
)
def test_wrong_usage_exits_with_2(arguments):
    assert CliRunner().invoke(main, ["doctor", *arguments]).exit_code == 2


def test_unprintable_interface_name_is_escaped():
    line = finding_line(Finding("warn", "rp_filter", "strict on \x1b[2J", "sysctl -w 'net/\x1b[2J'"))
    assert line.text == r"warn: rp_filter: strict on \x1b[2J; run: sysctl -w 'net/\x1b[2J'"
