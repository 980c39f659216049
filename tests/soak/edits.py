"""The edits that an operator makes: each turns a configuration into the next one, in one or two steps.

An edit is a function of a random generator and the objects; it returns what the
objects become, step by step, or nothing if it does not fit them.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any, NamedTuple

from tests.soak import plan
from tests.soak.plan import Objects, Service

__all__ = ["EDITS", "Edit", "Step", "next_edit"]


class Step(NamedTuple):
    """The objects after a step of an edit, and seconds to wait before the next."""

    objects: Objects
    pause: float = 0.0


class Edit(NamedTuple):
    """What an edit is, in words, and its steps."""

    text: str
    steps: list[Step]


Make = Callable[[Random, Objects], Edit | None]


def _key(service: Service, backend: str) -> str:
    return f"services/{service.name}/backends/{backend}"


def _pick(rng: Random, objects: Objects) -> Service:
    return rng.choice([service for service in plan.services(objects) if service.backends])


def _free(service: Service) -> list[int]:
    """Return the numbers of addresses that a service has no backend at."""
    used = {int(value["ipv4"].split(".")[3]) for value in service.backends.values()}
    return [number for number in plan.BACKENDS if number not in used]


def _name(objects: Objects, stem: str) -> str:
    """Return a name with that stem which is not in use."""
    names = {part for path in objects for part in path.split("/")}
    return next(name for n in range(1, 10_000) if (name := f"{stem}-{n}") not in names)


def _without(objects: Objects, paths: Iterable[str]) -> Objects:
    gone = set(paths)
    return {path: value for path, value in objects.items() if path not in gone}


def _of(objects: Objects, service: Service) -> Objects:
    """Return the objects of a service."""
    return {path: value for path, value in objects.items() if path.startswith(f"services/{service.name}/")}


def _add(rng: Random, objects: Objects) -> Edit | None:
    service = _pick(rng, objects)
    free = _free(service)
    if len(service.backends) >= 5 or not free:
        return None
    key = _key(service, _name(objects, "add"))
    return Edit(f"add {key}", [Step({**objects, key: plan.backend(service.pool, rng.choice(free))})])


def _remove(rng: Random, objects: Objects) -> Edit | None:
    service = _pick(rng, objects)
    if len(service.backends) < 3:
        return None
    key = _key(service, rng.choice(sorted(service.backends)))
    return Edit(f"remove {key}", [Step(_without(objects, [key]))])


def _weigh(rng: Random, objects: Objects) -> Edit | None:
    service = _pick(rng, objects)
    name = rng.choice(sorted(service.backends))
    weight = rng.choice([0, 1, 5, 10, 20, 100])
    others = [value["weight"] for other, value in service.backends.items() if other != name]
    if not weight and not any(others):
        return None
    key = _key(service, name)
    return Edit(f"weight of {key}: {weight}", [Step({**objects, key: {**service.backends[name], "weight": weight}})])


def _rename_backends(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    bare = _without(objects, [_key(service, name) for name in service.backends])
    stem = _name(objects, "key")
    named = {_key(service, f"{stem}-{n}"): value for n, value in enumerate(service.backends.values())}
    both = [Step({**objects, **named}, 0.5)] if rng.random() < 0.3 else []
    text = f"rename all backends of {service.name}{', in two steps' if both else ''}"
    return Edit(text, [*both, Step({**bare, **named})])


def _rename_service(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    old = _of(objects, service)
    name = _name(objects, rng.choice("az") + service.vip.split(".")[3])
    new = {path.replace(f"/{service.name}/", f"/{name}/", 1): value for path, value in old.items()}
    both = [Step({**objects, **new}, 0.5)] if rng.random() < 0.3 else []
    text = f"rename {service.name} to {name}{', in two steps' if both else ''}"
    return Edit(text, [*both, Step({**_without(objects, old), **new})])


def _replace(rng: Random, objects: Objects) -> Edit | None:
    service = _pick(rng, objects)
    free = _free(service)
    if len(free) < 2:
        return None
    bare = _without(objects, [_key(service, name) for name in service.backends])
    chosen = rng.sample(free, min(len(free), rng.choice([2, 3])))
    stem = _name(objects, "green")
    new = {_key(service, f"{stem}-{n}"): plan.backend(service.pool, number) for n, number in enumerate(chosen)}
    return Edit(f"replace all backends of {service.name} by {sorted(chosen)}", [Step({**bare, **new})])


def _check(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    port = rng.choice([0, *plan.PORTS])
    check = {**plan.CHECK, "port": port, "path": rng.choice(["/", "/healthz"]), "interval": rng.choice([1.5, 2.0])}
    return Edit(f"check of {service.name}: port {port}", [Step({**objects, f"services/{service.name}/health": check})])


def _routed(rng: Random, objects: Objects, service: Service) -> tuple[str, Objects]:
    gateway = rng.choice(["", *plan.GATEWAYS])
    path = f"routes/r{service.pool}"
    if not gateway:
        return "no gateway", _without(objects, [path])
    route = {"Prefix": f"10.3.{service.pool}.0/24", "Gateway": gateway, "IPVSMethod": "masq"}
    return f"gateway {gateway}", {**objects, path: route}


def _route(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    text, routed = _routed(rng, objects, service)
    return Edit(f"route of {service.name}: {text}", [Step(routed)])


def _check_and_route(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    text, routed = _routed(rng, objects, service)
    check = {**plan.CHECK, "port": rng.choice(plan.PORTS)}
    routed[f"services/{service.name}/health"] = check
    return Edit(f"check and route of {service.name}: port {check['port']}, {text}", [Step(routed)])


def _frontend(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    path = f"services/{service.name}/frontend"
    fields: dict[str, Any] = {"scheduler": rng.choice(["rr", "wrr", "wlc"]), "drain_timeout": rng.choice([0, 1, 3])}
    return Edit(f"frontend of {service.name}: {fields}", [Step({**objects, path: {**objects[path], **fields}})])


def _swap(rng: Random, objects: Objects) -> Edit:
    one, two = rng.sample([service for service in plan.services(objects) if service.backends], 2)
    paths = [f"services/{service.name}/frontend" for service in (one, two)]
    swapped = {
        paths[0]: {**objects[paths[0]], "ipv4": two.vip},
        paths[1]: {**objects[paths[1]], "ipv4": one.vip},
    }
    return Edit(f"swap the VIPs of {one.name} and {two.name}", [Step({**objects, **swapped})])


def _empty(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    bare = _without(objects, [_key(service, name) for name in service.backends])
    return Edit(f"empty {service.name} for 2 s", [Step(bare, 2.0), Step(objects)])


def _delete(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    return Edit(f"delete {service.name} for 2 s", [Step(_without(objects, _of(objects, service)), 2.0), Step(objects)])


def _rewrite(rng: Random, objects: Objects) -> Edit:
    service = _pick(rng, objects)
    return Edit(f"rewrite {service.name} as it is", [Step(dict(objects))])


EDITS: dict[str, tuple[int, Make]] = {
    "add": (16, _add),
    "remove": (12, _remove),
    "weigh": (10, _weigh),
    "rename backends": (8, _rename_backends),
    "rename service": (8, _rename_service),
    "replace": (8, _replace),
    "check": (5, _check),
    "route": (5, _route),
    "check and route": (5, _check_and_route),
    "frontend": (4, _frontend),
    "swap": (4, _swap),
    "empty": (1, _empty),
    "delete": (1, _delete),
    "rewrite": (3, _rewrite),
}
"""Each edit with how often it is made."""


def next_edit(rng: Random, objects: Objects) -> tuple[str, Edit]:
    """Return an edit that fits the objects, and its kind."""
    while True:
        kind = rng.choices(list(EDITS), [often for often, _ in EDITS.values()])[0]
        edit = EDITS[kind][1](rng, objects)
        if edit is not None:
            return kind, edit
