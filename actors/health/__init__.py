"""A health process: HealthChecker probes the backends of one shard and publishes verdicts.

Imports `base`, `link`, `settings` and `clusterf`; no other process.
"""
