from ipaddress import ip_address

import pytest

from actors.base.process import Host
from actors.director import process
from actors.director.backend_merger import BackendMerger
from actors.director.ipvs_writer import IpvsWriter
from actors.director.route_resolver import RouteResolver
from actors.link.publisher import Publisher
from clusterf.ipvs.kernel import Unavailable
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import Family, Protocol
from tests.actors.support.director import FRONTEND, backend
from tests.actors.support.local_links import LocalLinks
from tests.actors.support.some_settings import some_settings
from tests.waiting import wait_until

HOST = Host(finish=lambda _: None, flushed=lambda: None, links=LocalLinks())


@pytest.fixture
def opened(kernel, monkeypatch):
    """What `open_kernel` returns, or raises, in turn; at last the kernel of the test."""
    results = []

    def open_kernel():
        result = results.pop(0) if results else kernel
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(process, "open_kernel", open_kernel)
    return results


@pytest.fixture
def run(request, tmp_path, opened):
    """Start the actors of the director process under a configuration."""

    def run(*messages, **changes):
        fields = {"runtime_dir": str(tmp_path / "run/node"), "state_dir": str(tmp_path), "health_processes": 0}
        fields |= {"vip_interface": None, "resync_interval": 1000.0, "ipvs_scheduler": "rr"}
        settings = some_settings(**fields | changes)
        config = Publisher("config", HOST.links)
        config.publish(messages, synced=True)
        config.start()
        request.addfinalizer(config.stop)
        actors = process.start("director", settings, HOST)
        for actor in actors:
            request.addfinalizer(lambda actor=actor: actor.stop(timeout=10))
        return actors

    return run


def test_actors_are_in_the_order_of_the_data_flow(run):
    assert [actor.actor_class for actor in run()] == [RouteResolver, BackendMerger, IpvsWriter]


def test_configuration_is_written_with_the_defaults_of_the_node(run, kernel):
    run(FRONTEND, backend(7), ipvs_forward_method="droute")
    virtual = VirtualServer(Family.IPV4, Protocol.TCP, ip_address("10.1.1.1"), 80)
    wait_until(lambda: kernel.table.reals.get(virtual))
    assert kernel.table.virtuals[virtual].scheduler == "rr"
    ((real, settings),) = kernel.table.reals[virtual].items()
    assert (str(real), settings.method.name, settings.weight) == ("10.2.2.1:80", "DROUTE", 7)


def test_excluded_address_is_not_written(run, kernel, caplog):
    run(FRONTEND, backend(7), ipvs_exclude=("10.1.0.0/16",))
    wait_until(lambda: "address 10.1.1.1 is in a range of --ipvs-exclude" in caplog.text)
    wait_until(lambda: kernel.reads)
    assert not kernel.steps


def test_strict_policy_forbids_what_no_key_of_vips_covers(run, kernel, caplog):
    run(FRONTEND, backend(7), vip_policy="strict")
    wait_until(lambda: "address 10.1.1.1 is forbidden: no vips/ key covers it (--vip-policy strict)" in caplog.text)
    wait_until(lambda: kernel.reads)
    assert not kernel.steps


def test_noop_writes_to_a_shadow_of_the_table(run, kernel, caplog):
    caplog.set_level("INFO")
    run(FRONTEND, backend(7), noop=True)
    wait_until(lambda: "ipvs noop: ipvsadm -a -t 10.1.1.1:80 -r 10.2.2.1:8080 -m -w 7" in caplog.text)
    assert not kernel.table.virtuals


@pytest.mark.parametrize("error", [Unavailable("no IPVS"), OSError("no permission")])
def test_noop_without_a_readable_table_assumes_an_empty_one(run, opened, error, caplog):
    opened.append(error)
    run(FRONTEND, noop=True)
    wait_until(lambda: f"ipvs noop: cannot read the table, assuming an empty one: {error}" in caplog.text)


def test_director_without_ipvs_is_unavailable(run, opened):
    opened.append(Unavailable("no IPVS"))
    with pytest.raises(Unavailable, match="no IPVS"):
        run()


def test_vips_have_a_keeper_only_where_an_interface_or_an_earlier_address_is_known(tmp_path):
    settings = some_settings(vip_interface=None, state_dir=str(tmp_path))
    store = process.Store(settings.director_file)
    assert process._vip_keeper(settings, store, ()) is None
    process.Record(store, "addresses").update({b"[]": b""})
    assert process._vip_keeper(settings, store, ()) is not None
