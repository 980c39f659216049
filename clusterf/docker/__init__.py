"""From the containers and networks of a Docker engine to keys of the configuration.

A thin client of the engine, a follower of its events, and pure functions from
the state of containers and networks to keys. Imports `config`, `ipvs` and `lib`.
Writing the keys to etcd is not in here: that is `leases.lease_keeper`.
"""
