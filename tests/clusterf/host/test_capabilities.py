import subprocess
import sys
import textwrap

import pytest

from clusterf.host.capabilities import CAP_DAC_READ_SEARCH, CAP_NET_ADMIN

pytestmark = pytest.mark.process


def capabilities_after(code):
    """Run `code` in a process of its own; return the capability sets that it has afterwards, as numbers by name."""
    prologue = "from clusterf.host.capabilities import *\n"
    epilogue = "\nprint(open('/proc/self/status').read())"
    done = subprocess.run(
        [sys.executable, "-c", prologue + textwrap.dedent(code) + epilogue], capture_output=True, text=True, check=True
    )
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    sets = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    return sets | {"NoNewPrivs": int(status["NoNewPrivs"])}


@pytest.fixture(scope="module")
def before():
    return capabilities_after("")


@pytest.mark.parametrize("kept", [set(), {CAP_NET_ADMIN}, {CAP_DAC_READ_SEARCH}, {CAP_NET_ADMIN, CAP_DAC_READ_SEARCH}])
def test_only_kept_capabilities_remain(kept, before):
    mask = sum(1 << number for number in kept)
    after = capabilities_after(f"drop_all_but({kept})")
    assert after["CapPrm"] == after["CapEff"] == before["CapPrm"] & mask
    assert after["CapInh"] == after["CapAmb"] == 0
    assert after["NoNewPrivs"] == 1
    if before["CapPrm"] & 1 << 8:
        assert after["CapBnd"] == before["CapBnd"] & mask


def test_dropped_capability_cannot_be_regained():
    after = capabilities_after("""
        drop_all_but([])
        drop_all_but([CAP_NET_ADMIN])
    """)
    assert after["CapPrm"] == 0


def test_later_threads_have_no_more_capabilities():
    after = capabilities_after("""
        import threading
        drop_all_but([])
        seen = []
        def read():
            seen.append(open(f"/proc/self/task/{threading.get_native_id()}/status").read())
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        assert "CapEff:\\t0000000000000000" in seen[0], seen[0]
    """)
    assert after["CapEff"] == 0
