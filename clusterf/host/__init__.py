"""This machine: its boot, capabilities, network interfaces, and the nodes that run on it.

Imports `lib`. IPVS is in `ipvs`.
"""
