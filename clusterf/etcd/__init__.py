"""A thin client of etcd v3, and keys that are attached to a lease.

Imports `lib`. Keys and values are bytes here; `config` decodes them, and `sources`
follows a prefix.
"""
