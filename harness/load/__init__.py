"""Load on a gateway: what drives it hard, and what is told from how it held; ``locustfile`` alone imports Locust."""

from pathlib import Path


def locustfile_path() -> Path:
    """Return the file that Locust is started with."""
    return Path(__file__).with_name("locustfile.py")
