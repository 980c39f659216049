"""The addresses of virtual servers: which are needed, where, and announcing them to neighbours.

Imports `host`, `ipvs`, `reconcile` and `lib`. An address that was added outside
clusterf is never removed.
"""
