"""The values and functions of clusterf: configuration in, IPVS table out.

Nothing in this package knows of actors or processes. What needs no I/O is a
function or a frozen value; what does is a thin client at the edge.
"""

__version__ = "0.1.0"
