"""From claims, members and the verdicts of health checks to the desired table.

Pure: the merger (members to real servers), the rotation (which members health takes out), and
what stays although it is no longer configured. Imports `resolve`, `config`, `health` (for
verdicts), `ipvs`, `reconcile` and `lib`. Nothing here reads or writes a kernel, a socket or a file.
"""
