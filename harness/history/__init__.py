"""The ordered, immutable record of one run: spans, their reader and their writer; it may judge nothing."""

from harness.history.reader import HistoryError, read_history
from harness.history.recorder import ATTEMPT, BODY_CAP, Recorder, stamp_of
from harness.history.spans import (
    SCHEMA,
    AttemptSpan,
    CallOutcome,
    CallSpan,
    FaultSpan,
    LedgerEntry,
    Note,
    Plan,
    PlannedCall,
    Reading,
    UsageRow,
)
from harness.history.whole import UNBOUNDED_US, History

__all__ = [
    "ATTEMPT",
    "BODY_CAP",
    "SCHEMA",
    "UNBOUNDED_US",
    "AttemptSpan",
    "CallOutcome",
    "CallSpan",
    "FaultSpan",
    "History",
    "HistoryError",
    "LedgerEntry",
    "Note",
    "Plan",
    "PlannedCall",
    "Reading",
    "Recorder",
    "UsageRow",
    "read_history",
    "stamp_of",
]
