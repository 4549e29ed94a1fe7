"""The one way that every call of every surface goes: identify, read, admit, route, relay, settle, log.

It looks each component up through the components that it is run with, and decides nothing that one of them can decide.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from harness.gateway.asgi import Client, ClientGone, ClientStream, Headers
from harness.gateway.call import Call, Endpoint
from harness.gateway.errors import Refusal
from harness.gateway.insurer import Settlement
from harness.gateway.relay import Answer
from harness.gateway.replays import REPLAYED, Kept
from harness.gateway.settlement import UNBILLED_DISCONNECT, Bill
from harness.gateway.store import StoreError
from harness.gateway.time_limit import TimeLimit

if TYPE_CHECKING:
    from harness.gateway.components import Components

CLIENT_GONE_STATUS = 499
"""The status in the books of a call whose client did not wait for its answer."""


REPLAYED_FLAG = "idempotent_replay"


class Pipeline:
    """Runs calls. Stateless: everything about a call is in its Call."""

    async def run(self, parts: Components, endpoint: Endpoint, client: Client) -> None:
        """Serve one call to its end, whatever happens to it: answered, settled, in the books, nothing left taken."""
        call = Call(
            endpoint,
            client,
            parts.surfaces[endpoint.surface],
            f"req_{parts.entropy.token('request')}",
            parts.clock.now_us(),
            endpoint.tier == "enterprise",
        )
        try:
            try:
                await self.serve(parts, call)
            except Refusal as refusal:
                await self.refuse(parts, call, refusal)
            except ClientGone:
                self.abort(parts, call)
            except Exception as error:
                parts.log.crash(call.request_id, error)
                await self.refuse(parts, call, Refusal("internal", "the gateway failed; the call is not charged"))
        finally:
            self.close(parts, call)

    async def serve(self, parts: Components, call: Call) -> None:
        """Take a call through all stages. Raises Refusal for every answer that is an error, and ClientGone."""
        self.identify(parts, call)
        call.raw = await parts.reader.receive(call.client)
        call.received_us = parts.clock.now_us()
        self.understand(parts, call)
        kept = parts.replays.enter(call)
        if kept is not None:
            await self.replay(parts, call, kept)
            return
        call.client.watch(lambda: self.client_left(parts, call))
        answer = await self.carry(parts, call)
        if not call.surface.charged:
            await self.answer_uncharged(parts, call, answer)
        elif call.stream:
            await self.finish_stream(parts, call, answer)
        else:
            await self.answer_whole(parts, call, answer)

    def identify(self, parts: Components, call: Call) -> None:
        """Find out whose call it is. Raises Refusal."""
        call.label_as(call.client.header(parts.contract.headers.client_request_id))
        offered = parts.reader.credentials(call.client, call.endpoint.credential_headers)
        call.secrets = tuple([secret.encode("utf-8", "surrogateescape") for secret in offered if secret])
        call.identity = parts.keys.identify(offered)
        call.account = call.identity.account

    def understand(self, parts: Components, call: Call) -> None:
        """Find out what the body asks for, and whether this client may ask for it. Raises Refusal."""
        call.body = parts.reader.parse(call.raw)
        model_id = parts.reader.model_id(call.body)
        try:
            call.model = parts.catalogue.find(call.endpoint, model_id)
        except Refusal:
            call.asked = parts.reader.printable(model_id)
            raise
        call.asked, call.enterprise = model_id, call.model.tier == "enterprise"
        call.surface.check(call.body)
        call.stream = call.surface.streams(call.body)
        parts.admission.require_possible(call)
        parts.cli_gate.require(parts, call)

    async def carry(self, parts: Components, call: Call) -> Answer:
        """Admit the call and relay it, all within the time that a call may run. Raises Refusal, ClientGone."""
        try:
            with TimeLimit(self.call_limit_ms(parts, call) / 1e3) as call.limit:
                if call.surface.charged:
                    await parts.admission.admit(parts, call)
                    parts.replays.admitted(call)
                if call.stream:
                    call.out = self.open_stream(parts, call)
                return await parts.relay.run(parts, call)
        except TimeoutError:
            if call.client.gone:
                raise ClientGone from None
            if parts.relay.committed(call):
                raise Refusal(
                    "stream_broken", "the call ran into its time limit; what came before is incomplete"
                ) from None
            raise Refusal("upstream_timeout", "the call ran into its time limit") from None
        finally:
            call.limit = None

    def call_limit_ms(self, parts: Components, call: Call) -> int:
        """Return how long the call may run, from the request's full receipt."""
        assert call.model is not None
        times = parts.contract.timeouts
        return times.image_call_ms if call.model.media == "image" else times.text_call_ms

    def open_stream(self, parts: Components, call: Call) -> ClientStream:
        """Return the client's stream: silent until there is content, but for pings."""
        return ClientStream(
            call.client,
            parts.headers.stream(call, parts.insurer),
            call.surface.ping,
            parts.contract.timeouts.ping_ms / 1e3,
        )

    def client_left(self, parts: Components, call: Call) -> None:
        """Let an upstream that is at work go on for the drain time, and everything else end now."""
        if call.out is not None:
            call.out.abandon()
        if call.limit is not None and not call.limit.expired():
            drain_s = parts.contract.timeouts.drain_ms / 1e3 if call.attached else 0.0
            call.limit.reschedule(min(call.limit.ends_s, asyncio.get_running_loop().time() + drain_s))

    async def replay(self, parts: Components, call: Call, kept: Kept) -> None:
        """Answer with what the first call of the key ended with: nothing is run, charged or insured again."""
        call.flag(REPLAYED_FLAG)
        call.status, call.outcome = kept.status, kept.outcome
        self.record(parts, call)
        await call.client.respond(kept.status, [*kept.headers, REPLAYED], kept.body)

    async def answer_uncharged(self, parts: Components, call: Call, answer: Answer) -> None:
        """Pass on an answer that costs nothing."""
        self.done(parts, call)
        await call.client.respond(
            200, parts.headers.whole(call, None), call.surface.finished(answer.body, call.asked, None)
        )

    async def answer_whole(self, parts: Components, call: Call, answer: Answer) -> None:
        """Charge an unstreamed answer, settle its insurance, and send it with both."""
        bill = await parts.settler.charge(parts, call, answer)
        if call.replay_key is not None:
            # Before the payout: a charge that has one has its answer in the store.
            settlement = parts.settler.settlement(parts, call, bill.credits) if call.enterprise else None
            await parts.replays.keep(call, *self.whole(parts, call, answer, bill, settlement))
        settlement = await parts.settler.insure(parts, call, bill) if call.enterprise else None
        self.done(parts, call)
        await call.client.respond(200, *self.whole(parts, call, answer, bill, settlement))

    def whole(
        self, parts: Components, call: Call, answer: Answer, bill: Bill, settlement: Settlement | None
    ) -> tuple[Headers, bytes]:
        """Return headers and body of an unstreamed answer."""
        body = call.surface.finished(answer.body, call.asked, self.hypereal(call, bill, settlement))
        return parts.headers.whole(call, settlement), body

    async def finish_stream(self, parts: Components, call: Call, answer: Answer) -> None:
        """Charge a stream, let out what was held back until then, and settle its insurance after its end."""
        assert call.out is not None
        bill = await parts.settler.charge(parts, call, answer)
        if call.enterprise:
            call.surface.place(answer.held, {"billing": bill.as_json()})
        last = b"".join(event.raw for event in answer.held)
        tape = call.client.tape
        if tape is not None:
            await parts.replays.keep(call, call.out.headers, b"".join([*tape.pieces, last]))
        call.out.write(last)
        call.out.end()
        if call.enterprise:
            await parts.settler.insure(parts, call, bill)
        self.done(parts, call)
        await call.out.flushed()

    def hypereal(self, call: Call, bill: Bill, settlement: Settlement | None) -> dict[str, Any] | None:
        """Return the hypereal block of an Enterprise answer; general answers have none."""
        if settlement is None:
            return None
        return {"billing": bill.as_json(), "insurance": settlement.as_json()}

    async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
        """Answer with an error: as a status, or as an event if the client has had the head of a stream."""
        if call.client.answered:
            return  # it was the answering itself that failed
        parts.settler.release(parts, call)
        call.refused_as = refusal.name
        call.status = parts.errors.status(refusal)
        call.outcome = "failed" if call.attempts or refusal.name == "internal" else "refused"
        self.record(parts, call)
        if call.client.gone:
            return
        if call.begun:
            await self.break_off(parts, call, refusal)
        else:
            if call.out is not None:
                call.out.abandon()
            await parts.errors.answer(call.client, refusal, call.request_id, parts.headers.governor(call))

    async def break_off(self, parts: Components, call: Call, refusal: Refusal) -> None:
        """End a stream whose head the client has had with the surface's error event."""
        assert call.out is not None
        call.out.write(call.surface.error_event(parts.errors.body(refusal, call.request_id), call.state))
        call.out.end()
        await call.out.flushed()

    def abort(self, parts: Components, call: Call) -> None:
        """End a call whose client left, and whose answer did not come whole in time."""
        call.flag(UNBILLED_DISCONNECT)
        parts.settler.release(parts, call)
        call.status, call.outcome = CLIENT_GONE_STATUS, "aborted"
        self.record(parts, call)

    def done(self, parts: Components, call: Call) -> None:
        """Take note that the call has its answer, which is charged if it costs anything."""
        call.status = 200
        call.outcome = "aborted" if call.client.gone else "ok"
        self.record(parts, call)

    def record(self, parts: Components, call: Call) -> None:
        """Put the call into the usage log and write its log line."""
        now_us = parts.clock.now_us()
        try:
            parts.usage_log.add(self.row(parts, call, now_us))
        except StoreError as error:
            parts.log.crash(call.request_id, error)
        parts.log.call(call, now_us)

    def row(self, parts: Components, call: Call, now_us: int) -> dict[str, Any]:
        """Return the call's row of the usage log."""
        ended = call.outcome == "ok" and call.ended_us
        usage = call.usage
        return {
            "call": call.label,
            "request": call.request_id,
            "account": call.account,
            "key": call.identity.key if call.identity is not None else "",
            "endpoint": call.endpoint.path,
            "model": call.asked,
            "status": call.status,
            "outcome": call.outcome,
            "credits": call.credits,
            "compensated": call.compensated,
            "insurance": call.insurance or ("not_eligible" if call.enterprise else ""),
            "latency_ms": (parts.settler.latency_us(call) if ended else now_us - call.received_us) // 1000,
            "usage": {}
            if usage is None
            else {
                "input": usage.input,
                "cache_read": usage.cache_read,
                "cache_write": usage.cache_write,
                "output": usage.output,
            },
            "flags": list(call.flags),
            "at": now_us,
        }

    def close(self, parts: Components, call: Call) -> None:
        """Leave nothing behind, whatever way the call came out: no hold, no slot, no task."""
        parts.settler.release(parts, call)
        parts.replays.leave(call)
        if call.out is not None:
            call.out.abandon()
        call.client.close()
