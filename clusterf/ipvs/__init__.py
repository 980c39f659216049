"""IPVS of the Linux kernel: the values of its table, its interface, a shadow of it, `ipvsadm` text, and the log.

Imports `lib`. What to write, and when, is decided in `reconcile`; what is
desired, in `director`.
"""
