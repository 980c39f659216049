"""The wire format of the netlink family IPVS (`linux/ip_vs.h`), and a client of it.

Imports `ipvs` and `lib`. Used through `client.open_kernel` only, which promises
the contract of `ipvs.kernel.Kernel`.
"""
