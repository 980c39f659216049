"""The config process: EtcdWatcher and FileWatcher follow the sources, ConfigPublisher merges and publishes them.

Imports `base`, `link` and `clusterf`; no other process.
"""
