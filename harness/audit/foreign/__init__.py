"""Foreign books: CSV, JSON lines, Parquet and SQLite of somebody else's gateway, mapped to the books of an audit.

Nothing is dropped: a row that cannot be used is listed with its file, line and why, and its call is set aside.
"""

from __future__ import annotations

from harness.audit.foreign.column_map import packaged, read_maps
from harness.audit.foreign.price_list import read_prices
from harness.audit.foreign.read import Order, read_foreign

__all__ = ["Order", "packaged", "read_foreign", "read_maps", "read_prices"]
