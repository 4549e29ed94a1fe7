"""The ordered, immutable record of one run: spans, their reader and their writer; it may judge nothing."""

from harness.history.reader import CHAPTER, HistoryError, chapters, read_chapters, read_history, read_plan
from harness.history.recorder import ATTEMPT, BODY_CAP, Recorder, Recording, span_line, stamp_of
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
    "CHAPTER",
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
    "Recording",
    "UsageRow",
    "chapters",
    "read_chapters",
    "read_history",
    "read_plan",
    "span_line",
    "stamp_of",
]
