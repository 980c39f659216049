import inspect

import pytest

from clusterf.ipvs.kernel import Kernel
from clusterf.ipvs.netlink.client import NetlinkIpvs
from clusterf.ipvs.shadow import ShadowKernel

METHODS = [name for name, member in vars(Kernel).items() if inspect.isfunction(member) and not name.startswith("_")]


@pytest.mark.parametrize("kernel", [NetlinkIpvs, ShadowKernel])
@pytest.mark.parametrize("name", METHODS)
def test_kernel_has_each_method_with_the_same_signature(kernel, name):
    assert inspect.signature(getattr(kernel, name)) == inspect.signature(getattr(Kernel, name))


def test_interface_is_not_empty():
    assert len(METHODS) >= 7
