"""The addresses of virtual servers: which are needed, where, and telling the neighbours.

Imports `host`, `ipvs`, `reconcile` and `lib`. An address that somebody else added is
never removed.
"""
