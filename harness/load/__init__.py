"""Load on a gateway: what drives it hard, and what is told from how it held; what imports Locust is imported by
Locust alone."""

from pathlib import Path


def locustfile_path() -> Path:
    """Return the file that Locust is started with."""
    return Path(__file__).with_name("locustfile.py")


def fleetfile_path() -> Path:
    """Return the file that Locust's own master and workers are started with."""
    return Path(__file__).with_name("fleetfile.py")
