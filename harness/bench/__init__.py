"""What a gateway costs: latency added and CPU per call, measured here; it judges no promise of a contract."""

from harness.bench.plan import MEASURES, Order
from harness.bench.record import SCHEMA, build_record
from harness.bench.run import run_bench

__all__ = ["MEASURES", "SCHEMA", "Order", "build_record", "run_bench"]
