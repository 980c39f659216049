"""From the configuration and the verdicts of health checks to the desired table.

Pure: routes, the resolver (objects to members of virtual servers), the merger
(members to real servers), and the rotation (which members health takes out). Imports `config`,
`health` (for verdicts and targets), `ipvs`, `reconcile` and `lib`. Nothing here
reads or writes a kernel, a socket or a file.
"""
