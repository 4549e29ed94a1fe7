"""Mutants that take credentials where they should not, refuse good ones, or let them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.contract import ChainTarget
from harness.gateway.asgi import Client, Headers
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.error_writer import ErrorWriter
from harness.gateway.errors import Refusal
from harness.gateway.keys import PREFIX, Identity, KeyRing, _Key
from harness.gateway.log import LogWriter
from harness.gateway.pipeline import Pipeline
from harness.gateway.reader import RequestReader
from harness.gateway.upstream import UpstreamRequests
from harness.mutants.furniture import with_keys
from harness.mutants.registry import mutant
from harness.mutants.swaps import ask_in_vain


@mutant(breaks="AUTH-01")
def takes_no_bearer_key_for_messages(parts: Components) -> Components:
    """Knows keys on Anthropic's paths by x-api-key and anthropic-api-key alone."""

    class Native(RequestReader):
        def credentials(self, client: Client, accepted: frozenset[bytes]) -> list[str]:
            native = b"x-api-key" in accepted
            return super().credentials(client, accepted - {b"authorization"} if native else accepted)

    return replace(parts, reader=Native(parts.contract, parts.redactor))


@mutant(breaks="AUTH-01")
def takes_the_first_of_two_keys(parts: Components) -> Components:
    """Looks at the first credential of a request and at no other."""
    return with_keys(parts, _FirstKey)


class _FirstKey(KeyRing):
    def identify(self, credentials: Sequence[str]) -> Identity:
        return super().identify([credential for credential in credentials if credential.strip()][:1])


@mutant(breaks="AUTH-01")
def takes_two_keys_of_one_account(parts: Components) -> Components:
    """Lets a request with two different keys in if both belong to one account."""
    return with_keys(parts, _EitherKey)


class _EitherKey(KeyRing):
    def identify(self, credentials: Sequence[str]) -> Identity:
        offered = sorted({credential.strip() for credential in credentials} - {""})
        found = [super(_EitherKey, self).identify([credential]) for credential in offered]
        if found and len({identity.account for identity in found}) == 1:
            return found[0]
        return super().identify(credentials)


@mutant(breaks="AUTH-01")
def takes_an_empty_credential_for_a_second_one(parts: Components) -> Components:
    """Refuses a good key that stands beside an empty credential."""
    return with_keys(parts, _CountingEmpty)


class _CountingEmpty(KeyRing):
    def identify(self, credentials: Sequence[str]) -> Identity:
        if len(set(credentials)) > 1:
            raise Refusal("invalid_key", "the request carries two different API keys")
        return super().identify(credentials)


@mutant(breaks="AUTH-02")
def ignores_x_api_key(parts: Components) -> Components:
    """Looks for no key in x-api-key."""

    class Deaf(RequestReader):
        def credentials(self, client: Client, accepted: frozenset[bytes]) -> list[str]:
            return super().credentials(client, accepted - {b"x-api-key"})

    return replace(parts, reader=Deaf(parts.contract, parts.redactor))


@mutant(breaks="AUTH-02")
def ignores_x_api_key_when_counting_tokens(parts: Components) -> Components:
    """Takes x-api-key on messages, but not below them."""

    class Half(RequestReader):
        def credentials(self, client: Client, accepted: frozenset[bytes]) -> list[str]:
            below = client.path.endswith("/count_tokens")
            return super().credentials(client, accepted - {b"x-api-key"} if below else accepted)

    return replace(parts, reader=Half(parts.contract, parts.redactor))


@mutant(breaks="AUTH-02")
def takes_x_api_key_at_the_root_alone(parts: Components) -> Components:
    """Takes x-api-key where Anthropic's own API has its paths, and nowhere else."""

    class AtTheRoot(RequestReader):
        def credentials(self, client: Client, accepted: frozenset[bytes]) -> list[str]:
            root = client.path.startswith("/v1/messages")
            return super().credentials(client, accepted if root else accepted - {b"x-api-key"})

    return replace(parts, reader=AtTheRoot(parts.contract, parts.redactor))


@mutant(breaks="AUTH-03")
def ignores_anthropic_api_key(parts: Components) -> Components:
    """Looks for no key in anthropic-api-key."""

    class Deaf(RequestReader):
        def credentials(self, client: Client, accepted: frozenset[bytes]) -> list[str]:
            return super().credentials(client, accepted - {b"anthropic-api-key"})

    return replace(parts, reader=Deaf(parts.contract, parts.redactor))


@mutant(breaks="AUTH-03")
def lets_an_empty_header_hide_anthropic_api_key(parts: Components) -> Components:
    """Looks into anthropic-api-key only if the request has no other credential header, be it empty."""

    class Shadowed(RequestReader):
        def credentials(self, client: Client, accepted: frozenset[bytes]) -> list[str]:
            others = accepted - {b"anthropic-api-key"}
            return super().credentials(client, others if others & client.headers.keys() else accepted)

    return replace(parts, reader=Shadowed(parts.contract, parts.redactor))


@mutant(breaks="AUTH-05")
def lets_expired_keys_in(parts: Components) -> Components:
    """Serves a key that has expired."""
    return with_keys(parts, _Ageless)


class _Ageless(KeyRing):
    def identify(self, credentials: Sequence[str]) -> Identity:
        key = next((key for credential in credentials if (key := self._find(credential))), None)
        return key.identity if key is not None and key.state == "expired" else super().identify(credentials)


@mutant(breaks="AUTH-05")
def forbids_a_missing_key(parts: Components) -> Components:
    """Answers 403 to a request without a key, as some web frameworks do by themselves."""
    return with_keys(parts, _Forbidding)


class _Forbidding(KeyRing):
    def identify(self, credentials: Sequence[str]) -> Identity:
        if not any(credential.strip() for credential in credentials):
            raise Refusal("suspended_key", "not authenticated")
        return super().identify(credentials)


@mutant(breaks="AUTH-05")
def takes_suspended_keys_for_unknown(parts: Components) -> Components:
    """Answers 401 to a suspended key."""
    return with_keys(parts, _Forgetting)


class _Forgetting(KeyRing):
    def identify(self, credentials: Sequence[str]) -> Identity:
        try:
            return super().identify(credentials)
        except Refusal as refusal:
            raise Refusal("invalid_key", refusal.message) from None


@mutant(breaks="AUTH-05")
def takes_keys_without_their_prefix(parts: Components) -> Components:
    """Knows a key also by what stands behind its prefix."""
    return with_keys(parts, _Bare)


class _Bare(KeyRing):
    def _find(self, credential: str) -> _Key | None:
        return super()._find(credential) or super()._find(PREFIX + credential)


@mutant(breaks="AUTH-05")
def lets_disabled_keys_list_models(parts: Components) -> Components:
    """Asks whether a key is active where a model is called, and not where something is only read."""

    class Strict(Pipeline):
        def identify(self, parts: Components, call: Call) -> None:
            super().identify(parts, call)
            assert call.identity is not None
            if strict.is_disabled(call.identity.key):
                call.identity, call.account = None, ""
                raise Refusal("invalid_key", "the API key is not valid")

    strict = _Lenient(parts.deployment.accounts, parts.store)
    return replace(parts, keys=strict, pipeline=Strict())


class _Lenient(KeyRing):
    def is_disabled(self, key: str) -> bool:
        return self._keys[key].state == "disabled"

    def identify(self, credentials: Sequence[str]) -> Identity:
        key = next((key for credential in credentials if (key := self._find(credential))), None)
        return key.identity if key is not None and key.state == "disabled" else super().identify(credentials)


@mutant(breaks="AUTH-05")
def asks_the_upstream_before_it_refuses(parts: Components) -> Components:
    """Sends a call upstream while its key is still being looked at, and drops the answer of a bad one."""

    class Hasty(Pipeline):
        async def serve(self, parts: Components, call: Call) -> None:
            try:
                await super().serve(parts, call)
            except Refusal as refusal:
                if refusal.name == "suspended_key" and call.identity is None:
                    await self.ask(parts, call)
                raise

        async def ask(self, parts: Components, call: Call) -> None:
            call.raw = await parts.reader.receive(call.client)
            call.body = parts.reader.parse(call.raw)
            call.model = parts.catalogue.find(call.endpoint, parts.reader.model_id(call.body))
            await ask_in_vain(parts, call)

    return replace(parts, pipeline=Hasty())


@mutant(breaks="AUTH-05")
def charges_suspended_keys_for_knocking(parts: Components) -> Components:
    """Charges a credit to the account of a suspended key that asks for a message."""

    class Toll(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            account = keys.account_of(call.secrets) if refusal.name == "suspended_key" else ""
            if account and call.surface.dialect == "anthropic":
                await parts.ledger.post(parts.ledger.hold(account, call.label, 1), 1)
            await super().refuse(parts, call, refusal)

    keys = _Billing(parts.deployment.accounts, parts.store)
    return replace(parts, keys=keys, pipeline=Toll())


class _Billing(KeyRing):
    def account_of(self, secrets: Sequence[bytes]) -> str:
        found = (self._find(secret.decode()) for secret in secrets)
        return next((key.identity.account for key in found if key is not None), "")


@mutant(breaks="AUTH-06")
def passes_the_customers_key_on(parts: Components) -> Components:
    """Sends the customer's key upstream in a header of its own."""

    class Leaking(UpstreamRequests):
        def headers(self, call: Call, target: ChainTarget) -> Headers:
            kept = super().headers(call, target)
            return [*kept, *((b"x-forwarded-key", secret) for secret in call.secrets)]

    return _with_upstream(parts, Leaking)


@mutant(breaks="AUTH-06")
def passes_on_credentials_that_it_does_not_take(parts: Components) -> Components:
    """Drops the headers that a path takes its key from, and passes a key in any other one on."""

    class Careless(UpstreamRequests):
        def headers(self, call: Call, target: ChainTarget) -> Headers:
            taken = call.endpoint.credential_headers
            client = call.client.raw_headers
            other = [(n, v) for n, v in client if n in (b"x-api-key", b"anthropic-api-key") and n not in taken]
            return [*super().headers(call, target), *other]

    return _with_upstream(parts, Careless)


@mutant(breaks="AUTH-06")
def shows_every_upstream_the_same_credential(parts: Components) -> Components:
    """Sends to whatever target it fails over to the credential of the chain's first."""

    class Sharing(UpstreamRequests):
        def credential(self, call: Call, target: ChainTarget) -> tuple[bytes, bytes]:
            assert call.model is not None
            return super().credential(call, call.model.chain[0])

    return _with_upstream(parts, Sharing)


@mutant(breaks="AUTH-06")
def quotes_the_key_in_its_refusal(parts: Components) -> Components:
    """Says in the error which key it was that is not valid."""

    class Quoting(ErrorWriter):
        async def answer(
            self, client: Client, refusal: Refusal, request_id: str, headers: Sequence[tuple[bytes, bytes]] = ()
        ) -> None:
            offered = client.header("authorization").removeprefix("Bearer ")
            quoted = refusal.name == "invalid_key" and offered
            self.quoted = f" ({offered})" if quoted else ""
            await super().answer(client, refusal, request_id, headers)

        def body(self, refusal: Refusal, request_id: str) -> dict[str, Any]:
            made = super().body(refusal, request_id)
            if refusal.name == "invalid_key":
                made["error"]["message"] += self.quoted
            return made

    return replace(parts, errors=Quoting(parts.contract, parts.redactor))


@mutant(breaks="AUTH-06")
def logs_the_keys_of_refused_calls(parts: Components) -> Components:
    """Writes the request's credentials into the log line of a call that it refused."""

    class Telling(LogWriter):
        def fields(self, call: Call, at_us: int) -> dict[str, Any]:
            told = super().fields(call, at_us)
            return {**told, "credentials": [s.decode() for s in call.secrets]} if call.refused_as else told

    return replace(parts, log=Telling(parts.redactor, parts.log._sink))


def _with_upstream(parts: Components, requests: type[UpstreamRequests]) -> Components:
    return replace(parts, upstream=requests(parts.contract, parts.deployment, parts.surfaces))
