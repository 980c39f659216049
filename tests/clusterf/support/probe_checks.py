"""A check for each kind of probe."""

from clusterf.config.model import HealthCheck

__all__ = ["CHECKS", "SHORT", "TCP"]

SHORT = 0.1  # seconds, for probes that are to time out
TCP = HealthCheck()
CHECKS = {"tcp": TCP, "http": HealthCheck(type="http"), "http client": HealthCheck(type="http", redirects=1)}
