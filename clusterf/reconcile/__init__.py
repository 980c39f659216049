"""Make the kernel what is desired, and nothing else.

The reconciler, drains, the hold on removals, what is on record as ours, and the
companions of the table: sysctls and sync daemons. Imports `host`, `ipvs` and
`lib`. It does not know why something is desired.
"""
