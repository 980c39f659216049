"""A thin client of etcd v3.

Imports `lib`. Keys and values are bytes here; `config` decodes them, and `sources`
follows a prefix.
"""

import os

# gRPC's core writes a log of its own to standard error, with texts of the peer (such as a GOAWAY's) as they are
os.environ["GRPC_VERBOSITY"] = "NONE"
os.environ.pop("GRPC_TRACE", None)
