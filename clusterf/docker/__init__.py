"""From the containers and networks of a Docker engine to keys of the configuration.

A thin client of the engine, a follower of its events, and pure functions from
what the engine says to the keys that follow. Imports `config`, `host` and
`lib`. Writing keys to etcd is not in here: that is `etcd.lease_keeper`.
"""
