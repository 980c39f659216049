"""A thin client of etcd v3, and keys that hang on a lease.

Imports `lib`. It knows keys and values as bytes; what they mean is for `config`
to say, and following a prefix is in `sources`.
"""
