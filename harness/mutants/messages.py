"""Mutants of where and how Anthropic messages are served, of older ids and of token counts (MSG-01, 06, 08)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from harness.contract import ChainTarget, Model
from harness.gateway.asgi import Headers
from harness.gateway.call import Call, Endpoint
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.headers import HeaderWriter
from harness.gateway.models import Catalogue
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer
from harness.gateway.settlement import Settler
from harness.gateway.surfaces.messages import CountTokens, Messages
from harness.gateway.upstream import ANTHROPIC_VERSION, UpstreamRequests
from harness.gateway.usage import Usage
from harness.mutants.hosts import lost
from harness.mutants.message_content import changing_blocks
from harness.mutants.registry import mutant
from harness.mutants.swaps import answering, with_surface

Json = dict[str, Any]


# MSG-01: places and shape.


@mutant(breaks="MSG-01")
def serves_no_messages_at_the_root(parts: Components) -> Components:
    """Answers 404 where Anthropic's SDKs look for messages."""
    return lost(parts, lambda call: call.endpoint.path == "/v1/messages")


@mutant(breaks="MSG-01")
def knows_one_anthropic_version(parts: Components) -> Components:
    """Refuses a version of Anthropic's API that it has not heard of."""
    return _refusing(parts, lambda call: call.client.header("anthropic-version") > "2023-06-01")


@mutant(breaks="MSG-01")
def refuses_empty_tools(parts: Components) -> Components:
    """Takes an empty list of tools for a mistake."""
    return _refusing(parts, lambda call: call.body.get("tools") == [])


@mutant(breaks="MSG-01")
def refuses_the_system_among_messages(parts: Components) -> Components:
    """Knows the roles user and assistant alone."""
    return _refusing(parts, lambda call: any(turn.get("role") == "system" for turn in call.body["messages"]))


@mutant(breaks="MSG-01")
def answers_messages_without_a_role(parts: Components) -> Components:
    """Leaves the role out of an unstreamed message."""
    return answering(parts, Messages, lambda answer: {name: value for name, value in answer.items() if name != "role"})


@mutant(breaks="MSG-01")
def asks_for_its_own_anthropic_version(parts: Components) -> Components:
    """Serves any version, and asks the upstream for the one that it knows."""

    class Pinned(UpstreamRequests):
        def headers(self, call: Call, target: ChainTarget) -> Headers:
            kept = [(name, value) for name, value in super().headers(call, target) if name != b"anthropic-version"]
            return [*kept, (b"anthropic-version", ANTHROPIC_VERSION)]

    return replace(parts, upstream=Pinned(parts.contract, parts.deployment, parts.surfaces))


@mutant(breaks="MSG-01")
def trims_the_text_of_messages(parts: Components) -> Components:
    """Strips the space off the end of an unstreamed message's text."""
    return changing_blocks(parts, lambda block: block.update(text=block["text"].strip()) if "text" in block else None)


@mutant(breaks="MSG-01")
def tells_the_governor_of_every_call_at_the_root(parts: Components) -> Components:
    """Tells a general call at the root that the governor is active."""

    class Everywhere(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            made = super().governor(call)
            return [self._active] if call.endpoint.tier == "root" and not made else made

    return replace(parts, headers=Everywhere(parts.contract))


@mutant(breaks="MSG-01")
def streams_at_the_root_without_insurance(parts: Components) -> Components:
    """Forgets the insurance of an Enterprise stream at the root."""

    class Forgetful(HeaderWriter):
        def stream(self, call: Call, insurer: Any) -> Headers:
            made = super().stream(call, insurer)
            if call.endpoint.tier != "root":
                return made
            return [(name, value) for name, value in made if name not in self._insurance]

    return replace(parts, headers=Forgetful(parts.contract))


# MSG-06: older ids.


@mutant(breaks="MSG-06")
def knows_no_older_ids(parts: Components) -> Components:
    """Refuses the ids that older clients have built in."""

    class Modern(Catalogue):
        def find(self, endpoint: Endpoint, model_id: str) -> Model:
            return super().find(endpoint, f"{model_id}-retired" if model_id in parts.contract.aliases else model_id)

    return replace(parts, catalogue=Modern(parts.contract))


@mutant(breaks="MSG-06")
def streams_no_older_ids(parts: Components) -> Components:
    """Serves older ids, but not as streams."""
    older = parts.contract.aliases
    return _refusing(parts, lambda call: call.asked in older and call.stream)


@mutant(breaks="MSG-06")
def asks_the_upstream_for_the_older_id(parts: Components) -> Components:
    """Passes an older id on as it came."""

    class Verbatim(Messages):
        def upstream_body(self, body: Mapping[str, Any], upstream_model: str) -> bytes:
            older = body["model"] in parts.contract.aliases
            return super().upstream_body(body, body["model"] if older else upstream_model)

    return with_surface(parts, Verbatim())


@mutant(breaks="MSG-06")
def bills_older_ids_as_the_first_of_them(parts: Components) -> Components:
    """Bills every older id at the price of one and the same model."""
    first = parts.contract.model("general", next(iter(parts.contract.aliases.values())))

    class Flat(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            assert first is not None
            older = call.asked in parts.contract.aliases
            return parts.prices.cost(first, usage) if older else super().cost(parts, call, usage)

    return replace(parts, settler=Flat(parts.contract))


# MSG-08: token counts.


@mutant(breaks="MSG-08")
def counts_no_tokens_at_the_root(parts: Components) -> Components:
    """Answers 404 to a token count at the root."""
    return lost(parts, lambda call: call.endpoint.path == "/v1/messages/count_tokens")


@mutant(breaks="MSG-08")
def charges_token_counts(parts: Components) -> Components:
    """Charges a credit for counting tokens."""

    class Dear(Pipeline):
        async def answer_uncharged(self, parts: Components, call: Call, answer: Answer) -> None:
            await parts.ledger.post(parts.ledger.hold(call.account, call.label, 1), 1)
            await super().answer_uncharged(parts, call, answer)

    return replace(parts, pipeline=Dear())


@mutant(breaks="MSG-08")
def holds_credits_for_token_counts(parts: Components) -> Components:
    """Sets a credit aside while it counts tokens, and gives it back."""

    class Careful(Pipeline):
        async def answer_uncharged(self, parts: Components, call: Call, answer: Answer) -> None:
            parts.ledger.void(parts.ledger.hold(call.account, call.label, 1))
            await super().answer_uncharged(parts, call, answer)

    return replace(parts, pipeline=Careful())


@mutant(breaks="MSG-08")
def rounds_token_counts(parts: Components) -> Components:
    """Tells a count of tokens in tens."""

    class Rounding(CountTokens):
        def finished(self, answer: Json, asked: str, hypereal: Mapping[str, Any] | None) -> bytes:
            count = answer["input_tokens"]
            return super().finished({**answer, "input_tokens": count + 10 - count % 10}, asked, hypereal)

    return with_surface(parts, Rounding())


@mutant(breaks="MSG-08")
def takes_a_unit_for_a_token_count(parts: Components) -> Components:
    """Counts a token count as a request of its model's rate window."""

    class Counting(Pipeline):
        async def answer_uncharged(self, parts: Components, call: Call, answer: Answer) -> None:
            if call.enterprise and call.model is not None:
                windows = parts.governor._windows_of(call.account, call.model)
                windows.requests.take(parts.clock.now_us(), 1)
            await super().answer_uncharged(parts, call, answer)

    return replace(parts, pipeline=Counting())


def _refusing(parts: Components, what: Callable[[Call], bool]) -> Components:
    """Return ``parts`` that answer 400 to a messages call for which ``what`` holds."""

    class Picky(Pipeline):
        def understand(self, parts: Components, call: Call) -> None:
            super().understand(parts, call)
            if call.surface.name == "messages" and what(call):
                raise Refusal("bad_request", "the request is not supported")

    return replace(parts, pipeline=Picky())
