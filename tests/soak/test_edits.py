"""Edits keep a configuration valid, and do what they are for."""

from random import Random

import pytest

from tests.soak import plan
from tests.soak.edits import EDITS, next_edit
from tests.soak.history import Configuration


def configured(objects) -> Configuration:
    return plan.configuration(objects, 0, 0, "")


@pytest.mark.parametrize("seed", range(3))
def test_each_vip_stays_with_a_service_through_many_edits(seed):
    rng, objects = Random(seed), plan.everything()
    seen = set()
    for _ in range(80):
        kind, edit = next_edit(rng, objects)
        seen.add(kind)
        for step in edit.steps:
            configured(step.objects)
        objects = edit.steps[-1].objects
        virtuals = configured(objects).weights
        assert virtuals.keys() == {plan.virtual(plan.vip(n)) for n in [*plan.SERVICES, plan.PUBLISHED]}
        assert all(any(reals.values()) for virtual, reals in virtuals.items() if virtual != plan.virtual(plan.vip(13)))
    assert len(seen) > len(EDITS) / 2


@pytest.mark.parametrize("kind", ["rename backends", "rename service", "rewrite"])
def test_renamed_configuration_makes_the_same_table(kind):
    objects = plan.everything()
    for seed in range(10):
        assert plan.table(EDITS[kind][1](Random(seed), objects).steps[-1].objects) == plan.table(objects)


def test_backends_of_a_gateway_meet_at_one_real_server():
    objects = {**plan.everything(), "routes/r1": {"Prefix": "10.3.1.0/24", "Gateway": "10.4.0.1", "IPVSMethod": "masq"}}
    configuration = configured(objects)
    virtual = plan.virtual(plan.vip(1))
    assert configuration.weights[virtual] == {"10.4.0.1:80": 30}
    assert configuration.backends[virtual] == {"10.4.0.1:80": {plan.address(1, n) for n in plan.FIRST}}


def test_backend_without_weight_does_not_make_a_gateway_work():
    objects = {**plan.everything(), "routes/r1": {"Prefix": "10.3.1.0/24", "Gateway": "10.4.0.1", "IPVSMethod": "masq"}}
    objects["services/s01/backends/b1"] = plan.backend(1, 1, weight=0)
    assert configured(objects).backends[plan.virtual(plan.vip(1))] == {"10.4.0.1:80": {"10.3.1.2", "10.3.1.3"}}
