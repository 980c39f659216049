"""The edits that an operator makes, by name. Each takes two numbers that choose what it is about."""

from collections.abc import Callable
from dataclasses import replace

from tests.sim.operator import CHECKS, OWN_CHECKS, RULES, Backend, Configuration, Service

__all__ = ["EDITS"]

SLOTS = 8
MACHINES = 4

Edit = Callable[[Configuration, int, int], None]


def rename_service(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit(slot, name=_service(configuration, slot).name + 1 + number % 2)


def rename_backends(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit_backends(slot, lambda backend: replace(backend, name=backend.name + 1 + number % 2))


def rename_all(configuration: Configuration, slot: int, number: int) -> None:
    rename_service(configuration, slot, number)
    rename_backends(configuration, slot, number)


def replace_all(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit_backends(slot, lambda backend: replace(backend, pool=backend.pool + 1))


def replace_some(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit_backends(
        slot, lambda backend: replace(backend, pool=backend.pool + (backend.machine % 2 == number % 2))
    )


def add_backend(configuration: Configuration, slot: int, number: int) -> None:
    present = {(b.machine, b.pool % 4) for b in _service(configuration, slot).backends}
    if (number % MACHINES, 0) not in present:
        backends = (*_service(configuration, slot).backends, Backend(number % MACHINES))
        configuration.edit(slot, backends=backends)


def remove_backend(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit_backends(slot, lambda b: None if b.machine == number % MACHINES else b)


def empty(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit(slot, backends=())


def weigh(configuration: Configuration, slot: int, number: int) -> None:
    weight = (0, 1, 5, 10, 20)[number // MACHINES % 5]
    configuration.edit_backends(slot, lambda b: replace(b, weight=weight) if b.machine == number % MACHINES else b)


def move_vip(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit(slot, vip=_service(configuration, slot).vip + 1 + number % 2)


def change_vips(configuration: Configuration, slot: int, number: int) -> None:
    rule = slot, _service(configuration, slot).vip % 3
    way = number % (len(RULES) + 1)
    if way == len(RULES):
        configuration.vips.pop(rule, None)
    else:
        configuration.vips[rule] = way


def move_vip_and_rule(configuration: Configuration, slot: int, number: int) -> None:
    way = configuration.vips.pop((slot, _service(configuration, slot).vip % 3), 0)
    move_vip(configuration, slot, number)
    configuration.vips[slot, _service(configuration, slot).vip % 3] = way


def change_check(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit(slot, check=number % len(CHECKS))


def change_default_check(configuration: Configuration, slot: int, number: int) -> None:
    configuration.default_check = number % 5


def change_own_check(configuration: Configuration, slot: int, number: int) -> None:
    own = number // MACHINES % len(OWN_CHECKS)
    configuration.edit_backends(slot, lambda b: replace(b, own_check=own) if b.machine == number % MACHINES else b)


def change_own_checks(configuration: Configuration, slot: int, number: int) -> None:
    configuration.edit_backends(slot, lambda backend: replace(backend, own_check=number % len(OWN_CHECKS)))


def move_check_to_backends(configuration: Configuration, slot: int, number: int) -> None:
    """What the upgrade of a Docker host does to the checks of labels."""
    change_own_checks(configuration, slot, 1)
    configuration.edit(slot, check=0 if number % 2 else 1)


def change_route(configuration: Configuration, slot: int, number: int) -> None:
    configuration.routes[slot] = number % 6


def change_route_and_check(configuration: Configuration, slot: int, number: int) -> None:
    change_route(configuration, slot, number)
    change_check(configuration, slot, 2 if _service(configuration, slot).check != 2 else 1)


def remove_service(configuration: Configuration, slot: int, number: int) -> None:
    configuration.services.pop(slot, None)


def add_service(configuration: Configuration, slot: int, number: int) -> None:
    if slot not in configuration.services:
        backends = tuple(Backend(machine) for machine in range(2 + number % 3))
        configuration.services[slot] = Service(slot, number % 3, 0, backends, (0, 0, 1, 4)[number // 3 % 4])


def wipe(configuration: Configuration, slot: int, number: int) -> None:
    configuration.services.clear()
    if number % 2:
        configuration.routes.clear()
        configuration.vips.clear()


def _service(configuration: Configuration, slot: int) -> Service:
    return configuration.services.get(slot, Service(slot))


# how often each is chosen, relative to the others
EDITS: dict[str, tuple[int, Edit]] = {
    function.__name__: (often, function)
    for often, function in (
        (4, rename_service),
        (4, rename_backends),
        (3, rename_all),
        (6, replace_all),
        (3, replace_some),
        (6, add_backend),
        (4, remove_backend),
        (1, empty),
        (4, weigh),
        (4, move_vip),
        (3, change_vips),
        (2, move_vip_and_rule),
        (4, change_check),
        (1, change_default_check),
        (3, change_own_check),
        (2, change_own_checks),
        (2, move_check_to_backends),
        (3, change_route),
        (3, change_route_and_check),
        (2, remove_service),
        (8, add_service),
        (1, wipe),
    )
}
