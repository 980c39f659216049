"""The wire format of the netlink family IPVS (`linux/ip_vs.h`), and a client of it.

Imports `ipvs` and `lib`. `client.open_kernel` returns the `ipvs.kernel.Kernel` of this network
namespace; sync daemons have requests of their own in `daemons`.
"""
