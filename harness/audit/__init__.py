"""The billing audit: what upstreams served, what the gateway booked and what its clients were told, matched and priced.

It recomputes every charge in SQL from the printed prices and shares no arithmetic with gateway or checkers. It renders
nothing: ``reports`` does.
"""

from __future__ import annotations

from harness.audit.books import AuditError, Books
from harness.audit.classes import CLASSES
from harness.audit.judge import audit
from harness.audit.result import SCHEMA, Audit
from harness.audit.run_folder import read_run

__all__ = ["CLASSES", "SCHEMA", "Audit", "AuditError", "Books", "audit", "read_run"]
