"""From the configuration to claims on virtual servers and their members, before health and rivals count.

Pure: the virtual servers of frontends, the routes, the placement of backends, and the
resolver, which keeps all of that for changes to single objects. Imports `config`, `health`
(for checks and targets), `ipvs` and `lib`. Nothing here reads or writes a kernel, a socket
or a file.
"""
