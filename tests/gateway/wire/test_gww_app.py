"""The app around the calls: model lists, the books, other methods and paths, lifespan, building."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import asdict, replace
from typing import Any

import httpx
import orjson
import pytest
from gww_bench import (
    BOB_SECRET,
    BOOKS_TOKEN,
    CHAT,
    MANAGED_CHAT,
    SECRET,
    Bench,
    Heard,
    Upstreams,
    bench,
    chat_answer,
    deployment,
    ok,
)

from harness.contract.loader import contract_to_json, load_contract
from harness.gateway.app import build, create_app, start
from harness.gateway.components import Components
from harness.gateway.entropy import KeyedEntropy
from harness.gateway.ledger import Ledger
from harness.gateway.log import to_stderr
from harness.gateway.memory_store import MemoryStore
from harness.gateway.store import Pages, StoreError
from harness.sim.loop import run
from tests.gateway.pages import told


def get(path: str, **options: Any) -> Heard:
    async def test(gateway: Bench) -> Heard:
        return await gateway.ask(path, method=options.pop("method", "GET"), **options)

    heard: Heard = bench(test, Upstreams(primary=ok(chat_answer())))
    return heard


def test_the_enterprise_list_is_the_contracts_table() -> None:
    heard = get("/v1/managed/models")
    models = [model for model in load_contract().models if model.tier == "enterprise"]
    assert heard.json["object"] == "list"
    assert [entry["id"] for entry in heard.json["data"]] == [model.id for model in models]
    for entry, model in zip(heard.json["data"], models, strict=True):
        assert model.price is not None
        assert entry["object"] == "model"
        assert entry["context_window"] == model.context_tokens
        pricing = {name: entry["pricing"][name] for name in ("input", "cache_read", "cache_write", "output")}
        assert pricing == {name: getattr(model.price, name) for name in pricing}
    assert heard.headers["x-hypereal-managed-governor"] == "active"


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/models"])
def test_the_general_list_comes_in_both_shapes(path: str) -> None:
    ids = [model.id for model in load_contract().models if model.tier == "general"]
    heard = get(path)
    assert [entry["id"] for entry in heard.json["data"]] == ids
    assert heard.json["object"] == "list"
    heard = get(path, secret=None, headers={"anthropic-version": "2026-10-21", "x-api-key": SECRET})
    assert [entry["id"] for entry in heard.json["data"]] == ids
    assert (heard.json["has_more"], heard.json["first_id"], heard.json["last_id"]) == (False, ids[0], ids[-1])
    assert all(entry["type"] == "model" and entry["display_name"] for entry in heard.json["data"])


@pytest.mark.parametrize("path", ["/v1/managed/models", "/v1/models", "/api/v1/models", "/api/ledger"])
def test_lists_and_ledger_need_a_key(path: str) -> None:
    assert get(path, secret=None).status == 401
    assert get(path, secret="ck_suspended_key").status == 403
    assert get(path, secret=None, headers={"x-api-key": SECRET}).status == 401


def test_an_account_sees_its_own_entries_and_no_others() -> None:
    async def test(gateway: Bench) -> tuple[Any, Any]:
        await gateway.ask(MANAGED_CHAT, CHAT)
        await gateway.ask(MANAGED_CHAT, CHAT, secret=BOB_SECRET)
        await gateway.committed()
        alice = await gateway.ask("/api/ledger", method="GET")
        bob = await gateway.ask("/api/ledger", method="GET", secret=BOB_SECRET)
        return alice.json, bob.json

    alice, bob = bench(test, Upstreams(primary=ok(chat_answer())))
    for account, shown in (("alice", alice), ("bob", bob)):
        assert {entry["account"] for entry in shown["entries"]} == {account}
        assert [entry["kind"] for entry in shown["entries"]] == ["opening", "hold", "post"]


def test_the_books_are_lines_for_whoever_has_their_token() -> None:
    async def test(gateway: Bench) -> tuple[Heard, Heard]:
        for _ in range(2):
            await gateway.ask(MANAGED_CHAT, CHAT)
        await gateway.committed()
        first = await gateway.ask("/internal/books", method="GET", secret=BOOKS_TOKEN)
        await gateway.ask(MANAGED_CHAT, CHAT)
        await gateway.ask(MANAGED_CHAT, b"{")
        await gateway.committed()
        whole = await gateway.ask("/internal/books", method="GET", secret=BOOKS_TOKEN)
        read = f"/internal/books?after={first.headers['x-books-upto']}"
        return whole, await gateway.ask(read, method="GET", secret=BOOKS_TOKEN)

    whole, rest = bench(test, Upstreams(primary=ok(chat_answer())))
    spans = [orjson.loads(line) for line in whole.body.splitlines()]
    assert [span["span"] for span in spans] == ["ledger"] * 8 + ["usage"] * 4
    assert [span["entry"] for span in spans[:8]] == list(range(1, 9))
    assert [span["status"] for span in spans[8:]] == [200, 200, 200, 400]
    later = [orjson.loads(line) for line in rest.body.splitlines()]
    assert [span.get("entry") for span in later] == [7, 8, None, None]  # as far as it was read, nothing comes again
    assert whole.headers["content-type"] == "application/x-ndjson"


@pytest.mark.parametrize("path", ["/api/ledger", "/internal/books"])
def test_long_books_go_out_in_pieces(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.gateway.books._PIECE_BYTES", 1000)
    monkeypatch.setattr("harness.gateway.memory_store.PAGE", 4)
    secret = SECRET if path == "/api/ledger" else BOOKS_TOKEN

    async def test(gateway: Bench) -> tuple[Heard, Heard]:
        for _ in range(10):
            await gateway.ask(MANAGED_CHAT, CHAT)
        await gateway.committed()
        head = await gateway.ask(path, method="HEAD", secret=secret)
        return await gateway.ask(path, method="GET", secret=secret), head

    whole, head = bench(test, Upstreams(primary=ok(chat_answer())))
    lines = [orjson.loads(line) for line in whole.body.splitlines()]
    entries = lines[0]["entries"] if path == "/api/ledger" else [line for line in lines if line["span"] == "ledger"]
    assert [entry["kind"] for entry in entries if entry["account"] == "alice"] == ["opening", *["hold", "post"] * 10]
    assert len(whole.pieces) > 3
    assert (head.status, head.body, head.complete) == (200, b"", True)


def test_books_that_cannot_be_read_are_a_500_or_break_off() -> None:
    class Unreadable(Ledger):
        async def entries(self, account: str | None = None, after: int = 0, upto: int | None = None) -> Pages:
            for _ in range(readable):
                yield [{"entry": 1, "text": "x" * (1 << 17)}]
            raise StoreError("the disk is gone")

    def unreadable(parts: Components) -> Components:
        return replace(parts, ledger=Unreadable(parts.store, parts.clock))

    async def test(gateway: Bench) -> Heard:
        return await gateway.ask("/api/ledger", method="GET")

    readable = 0
    heard = bench(test, Upstreams(), change=unreadable)
    assert (heard.status, heard.complete) == (500, True)
    readable = 2
    with pytest.raises(StoreError):  # which makes a server break the answer off
        bench(test, Upstreams(), change=unreadable)


@pytest.mark.parametrize(
    "options",
    [
        {"secret": None},
        {"secret": SECRET},
        {"secret": None, "headers": {"authorization": BOOKS_TOKEN}},
        {"secret": BOOKS_TOKEN, "method": "POST"},
    ],
)
def test_to_everyone_else_the_books_are_not_there(options: dict[str, Any]) -> None:
    heard = get("/internal/books", **options)
    assert (heard.status, heard.error) == (404, get("/internal/nothing", secret=None).error)


def test_a_bad_place_in_the_books_is_the_callers_fault() -> None:
    for after in ("x", "-1", "9" * 40):
        assert get(f"/internal/books?after={after}", secret=BOOKS_TOKEN).status == 400


@pytest.mark.parametrize(
    ("method", "path", "secret", "status"),
    [
        ("HEAD", "/", None, 404),
        ("HEAD", "/api", None, 404),
        ("GET", "/", None, 404),
        ("POST", "/v1/unknown", None, 404),
        ("POST", "/api/v1/images/generations", SECRET, 404),
        ("GET", MANAGED_CHAT, SECRET, 405),
        ("GET", MANAGED_CHAT, None, 401),
        ("GET", MANAGED_CHAT, "ck_suspended_key", 403),
        ("HEAD", "/v1/messages", SECRET, 405),
        ("DELETE", "/v1/messages/count_tokens", SECRET, 405),
        ("POST", "/v1/models", SECRET, 405),
        ("POST", "/v1/models", None, 401),
        ("OPTIONS", MANAGED_CHAT, SECRET, 405),
    ],
)
def test_every_other_request_gets_an_error_of_the_contract(
    method: str, path: str, secret: str | None, status: int
) -> None:
    heard = get(path, method=method, secret=secret)
    assert heard.status == status
    assert heard.complete
    if method == "HEAD":
        assert heard.body == b""
        assert int(heard.headers["content-length"]) > 0
    else:
        types = {row.type for row in load_contract().errors}
        assert heard.json["type"] == "error"
        assert heard.error["type"] in types
    if status == 405:
        assert heard.headers["allow"] in ("POST", "GET, HEAD")
    assert ("x-hypereal-managed-governor" in heard.headers) == path.startswith("/v1/managed/")


def parts_of(**changes: Any) -> Any:
    given: dict[str, Any] = {
        "store": MemoryStore(lambda n: 0.001),
        "entropy": KeyedEntropy(1),
        "transport": httpx.MockTransport(lambda request: httpx.Response(500)),
    }
    return build(load_contract(), deployment(), **{**given, **changes})


async def lifespan(app: Any) -> list[dict[str, Any]]:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    return sent


def test_the_lifespan_opens_the_ledger_once() -> None:
    async def main() -> None:
        parts = parts_of()
        await parts.start()
        sent = await lifespan(create_app(parts))
        assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        await asyncio.sleep(1)
        assert [entry["kind"] for entry in told(parts.ledger.entries())] == ["opening", "opening"]

    run(main())


def test_a_start_that_fails_says_why() -> None:
    async def main() -> list[dict[str, Any]]:
        store = MemoryStore(lambda n: 0.001)
        parts = parts_of(store=store)
        store.fail(1)
        return await lifespan(create_app(parts))

    (message,) = run(main())
    assert message["type"] == "lifespan.startup.failed"
    assert "refused" in message["message"]


def test_a_websocket_is_turned_away() -> None:
    async def main() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await create_app(parts_of())({"type": "websocket", "path": "/v1/responses"}, receive, send)
        return sent

    assert [message["type"] for message in run(main())] == ["websocket.close"]


def test_start_builds_from_json_and_lets_one_component_be_changed() -> None:
    made = deployment()
    data = {**asdict(made), "upstreams": {role: asdict(seed) for role, seed in made.upstreams.items()}}
    changed: list[Any] = []

    def mutate(parts: Any) -> Any:
        changed.append(parts)
        return parts

    async def main() -> Any:
        return start(
            contract_to_json(load_contract()),
            orjson.loads(orjson.dumps(data)),
            store=MemoryStore(lambda n: 0.001),
            entropy=KeyedEntropy(1),
            transport=httpx.MockTransport(lambda request: httpx.Response(500)),
            mutate=mutate,
        )

    assert run(main()) is changed[0]


def test_a_chain_without_upstreams_is_refused_at_once() -> None:
    made = deployment()
    upstreams = {role: seed for role, seed in made.upstreams.items() if role != "third"}
    with pytest.raises(ValueError, match="third"):
        build(
            load_contract(),
            type(made)(made.accounts, upstreams, made.books_token_sha256, 0.0, 0),
            store=MemoryStore(lambda n: 0.001),
            entropy=KeyedEntropy(1),
            transport=httpx.MockTransport(lambda request: httpx.Response(500)),
        )


def test_without_a_sink_the_log_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr("a line")
    assert capsys.readouterr().err == "a line\n"


def test_every_call_has_one_line_in_the_log() -> None:
    async def test(gateway: Bench) -> list[dict[str, Any]]:
        await gateway.ask(MANAGED_CHAT, CHAT)
        await gateway.ask(MANAGED_CHAT, CHAT, secret=None)
        return [orjson.loads(line) for line in gateway.lines]

    served, refused = bench(test, Upstreams(primary=ok(chat_answer())))
    assert (served["status"], served["attempts"], served["account"], served["key"]) == (
        200,
        ["primary:ok"],
        "alice",
        "alice-1",
    )
    assert (refused["status"], refused["error"], refused["account"]) == (401, "invalid_key", "")


def test_the_targets_names_are_there() -> None:
    for module, name in (("app", "start"), ("app", "create_app"), ("transport", "SocketTransport")):
        assert hasattr(importlib.import_module(f"harness.gateway.{module}"), name)
