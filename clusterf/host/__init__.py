"""This machine: its boot, the capabilities of a process, its interfaces, the nodes that run on it.

Imports `lib`. What is particular to IPVS is in `ipvs`.
"""
