"""Probes: one request to one target, with one result, within the check's timeout.

`prober.py` is the entry point. Each kind of probe is a module: `tcp.py`
connects; `http.py` speaks HTTP on such a connection, at a quarter of the cost of
a client library; `http_client.py` leaves TLS and redirects to aiohttp.
`http_request.py` has the request and what a good response is, for both.

Names are never resolved, and no probe connects to anything but the target's own
address, whatever a response says.
"""

from clusterf.health.probes.prober import Prober

__all__ = ["Prober"]
