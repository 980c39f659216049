"""Make the kernel what is desired, and nothing else.

The reconciler (with its worklist, failures, removals, drains and owned servers), the hold
on removals, the record of what is ours, and the companions of the table: sysctls and
sync daemons. Imports `host`, `ipvs` and
`lib`. It does not know why something is desired.
"""
