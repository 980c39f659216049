"""The health check in a container's label, and what such a label may say.

It is a check of the container's own backends, and of no others. Those who run a container
need not be those who run the cluster, so by default it says how the container itself is
asked, and when an answer is good: by TCP, or by GET or HEAD at one of its own ports. What
makes more of a probe than that is refused.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, Final, Protocol

import msgspec
from msgspec.structs import replace

from clusterf.config.decode import decode
from clusterf.config.model import BackendCheck, HealthCheck, HealthKey

__all__ = ["SOURCE", "Complain", "label_check"]

SOURCE: Final = "docker"  # of problems
MAX_CHECK: Final = 16384  # characters
MAX_SHOWN: Final = 100  # characters of a foreign text in a log line

_SHORT: Final = re.compile(r"(?P<plain>none|tcp)|(?P<web>https?)(?::(?P<path>.*))?", re.DOTALL)
_PLAIN: Final = HealthCheck()
_METHODS: Final = ("GET", "HEAD")
# what a label may not say: of the request, of where it comes from and leads to, and of a backend without a verdict
_REFUSED: Final = ("headers", "body", "redirects", "source4", "source6", "initial")
_OF_THE_SERVICE: Final = ("panic_threshold", "on_down")


class Complain(Protocol):
    """Takes a problem of a label. `fatal`: it takes something away."""

    def __call__(self, field: str, reason: str, *, fatal: bool = True) -> None:
        """Take a problem of `field`, a label or a field in one."""


def label_check(text: str, ports: Collection[int], report: Complain, *, full: bool = False) -> BackendCheck:
    """Return the check that a label asks for, and report what is wrong with it.

    `ports` are the container's own TCP ports. One that is refused becomes one by TCP, unless `full` ones are
    allowed; one that is no check becomes an invalid one.
    """
    try:
        raw = _json(text)
    except ValueError as error:
        report("health", str(error)[:MAX_SHOWN])
        return BackendCheck(origin="invalid")
    decoded = decode(SOURCE, b"", HealthKey(None), raw)
    for problem in decoded.problems:
        report(".".join(filter(None, ("health", problem.field))), problem.reason, fatal=problem.fatal)
    if not isinstance(check := decoded.value, HealthCheck):
        return BackendCheck(origin="invalid")
    for field in _changed(check, _OF_THE_SERVICE):
        report(f"health.{field}", "has no effect in a label: the check of the service says that", fatal=False)
    refused = [] if full else list(_refused(check, ports))
    for field, reason in refused:
        report(f"health.{field}", f"{reason} (--docker-label-checks): checking by TCP instead")
    kept = {field: getattr(_PLAIN, field) for field in _OF_THE_SERVICE}
    return BackendCheck(replace(check, **kept) if not refused else _PLAIN, "label")


def _json(text: str) -> bytes:
    """Return the JSON that a label holds, or is short for. Raises ValueError."""
    if len(text) > MAX_CHECK:
        raise ValueError(f"{len(text)} characters, limit {MAX_CHECK}")
    if text.startswith("{"):
        return text.encode()
    match = _SHORT.fullmatch(text)
    if match is None:
        raise ValueError(f"expected none, tcp, http:PATH, https:PATH or a JSON object: {text}")
    if (match["path"] or "").startswith("//"):
        raise ValueError(f"expected {match['web']}:PATH, a path at the container itself, not a URL: {text}")
    check = {"type": match["plain"] or match["web"], "path": match["path"]}
    return msgspec.json.encode({field: value for field, value in check.items() if value is not None})


def _refused(check: HealthCheck, ports: Collection[int]) -> Iterator[tuple[str, str]]:
    """Yield the fields that a label may not have so, each with the reason."""
    if check.type == "none":
        yield "type", "none is not allowed"
    if check.port and check.port not in ports:
        yield "port", f"port {check.port}/tcp is not exposed"
    if check.method not in _METHODS:
        yield "method", f"{check.method[:MAX_SHOWN]} is not allowed"
    if check.tls.ca:
        yield "tls.ca", "not allowed"
    for field in _changed(check, _REFUSED):
        yield field.rstrip("46"), "not allowed"


def _changed(check: Any, fields: Collection[str]) -> Iterator[str]:
    """Yield those of the fields that do not have their defaults."""
    return (field for field in fields if getattr(check, field) != getattr(_PLAIN, field))
