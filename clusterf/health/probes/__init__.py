"""Probes: one question to one target, answered once, within the check's timeout.

`prober.py` has what others use. Each kind of probe is a module: `tcp.py`
connects; `plain.py` speaks HTTP on such a connection, at a quarter of what a
client library costs; `full.py` leaves TLS and redirects to aiohttp.
`request.py` says what is asked and what a good answer is, the same for both.

Names are never resolved, and nothing but the target's own address is ever
talked to, whatever an answer says.
"""

from clusterf.health.probes.prober import Prober

__all__ = ["Prober"]
