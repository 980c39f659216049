"""The docker process: DockerWatcher follows an engine, KeyPublisher keeps its keys in etcd.

Imports `base`, `link` and `clusterf`; no other process.
"""
