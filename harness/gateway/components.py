"""Everything that the pipeline calls, as one value: another gateway is the same value with one component replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from harness.contract import Contract
from harness.gateway.admission import Admission
from harness.gateway.books import Books
from harness.gateway.breaker import Breaker
from harness.gateway.cli_gate import CliGate
from harness.gateway.clock import Clock
from harness.gateway.deployment import Deployment
from harness.gateway.entropy import Entropy
from harness.gateway.error_writer import ErrorWriter
from harness.gateway.failures import FailureClassifier
from harness.gateway.governor import Governor
from harness.gateway.headers import HeaderWriter
from harness.gateway.insurer import Insurer
from harness.gateway.keys import KeyRing
from harness.gateway.ledger import Ledger
from harness.gateway.log import LogWriter
from harness.gateway.models import Catalogue
from harness.gateway.pipeline import Pipeline
from harness.gateway.prices import PriceList
from harness.gateway.reader import RequestReader
from harness.gateway.redact import Redactor
from harness.gateway.relay import Relay
from harness.gateway.replays import Replays
from harness.gateway.router import Router
from harness.gateway.settlement import Settler
from harness.gateway.store import Store
from harness.gateway.surfaces import Surface
from harness.gateway.upstream import UpstreamRequests
from harness.gateway.usage_log import UsageLog
from harness.gateway.user_rate import UserRate


@dataclass(slots=True)
class Life:
    """Whether the gateway was started: once for all copies of its components."""

    started: bool = False


@dataclass(frozen=True)
class Components:
    """The parts of one gateway. None of them knows another but through the components that a call is run with."""

    contract: Contract
    deployment: Deployment
    clock: Clock
    entropy: Entropy
    store: Store
    transport: httpx.AsyncBaseTransport
    keys: KeyRing
    catalogue: Catalogue
    reader: RequestReader
    cli_gate: CliGate
    surfaces: Mapping[str, Surface]
    prices: PriceList
    admission: Admission
    governor: Governor
    user_rate: UserRate
    router: Router
    breaker: Breaker
    upstream: UpstreamRequests
    failures: FailureClassifier
    relay: Relay
    settler: Settler
    insurer: Insurer
    ledger: Ledger
    usage_log: UsageLog
    replays: Replays
    headers: HeaderWriter
    errors: ErrorWriter
    redactor: Redactor
    log: LogWriter
    books: Books
    pipeline: Pipeline
    life: Life = field(default_factory=Life)

    async def start(self) -> None:
        """Open the books: stored ones are replayed, what a crash left open is settled. A second time does nothing."""
        if not self.life.started:
            self.life.started = True
            await self.ledger.open(self.deployment.accounts)
            await self.replays.open(self.ledger)
            await self.ledger.pay_what_is_due()
