"""The director process: RouteResolver, BackendMerger, and IpvsWriter, the one writer of the kernel's table.

Imports `base`, `link` and `clusterf`; no other process.
"""
