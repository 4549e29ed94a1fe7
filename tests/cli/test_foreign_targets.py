"""Gateways of somebody else under test: what is refused, what is their fault, and what is told of them."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.targets import registry
from harness.targets.imported import ImportedTarget
from tests.cli.conftest import Shell

QUICK = "billing.an_account_reads_its_own_ledger"
APPS = """
import asyncio, json, time

async def _lifeless(scope):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")

async def _answer(send, status):
    body = json.dumps({"error": {"type": "x", "message": "no"}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

async def refuses(scope, receive, send):
    await _lifeless(scope)
    await _answer(send, 500)

async def never_answers(scope, receive, send):
    await _lifeless(scope)
    await asyncio.Event().wait()

async def clings(scope, receive, send):
    await _lifeless(scope)
    while True:
        try:
            await asyncio.Event().wait()
        except BaseException:
            pass

async def raises(scope, receive, send):
    await _lifeless(scope)
    raise KeyError(f"no price in {__file__} at {object()!r}")

async def raises_aside(scope, receive, send):
    await _lifeless(scope)
    asyncio.create_task(_fails())
    await _answer(send, 500)

async def _fails():
    raise ValueError("nobody waits for this")

async def blocks(scope, receive, send):
    await _lifeless(scope)
    time.sleep(1)

async def never_starts(scope, receive, send):
    await asyncio.Event().wait()

async def starts_not(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

def made():
    return refuses

def made_with(wiring):
    assert wiring.secrets
    return refuses

async def never_made(wiring):
    await asyncio.Event().wait()

def makes_nothing():
    return 7

def makes_trouble(wiring):
    raise ValueError("no such provider")

async def stateful(scope, receive, send):
    assert scope["state"]["harness"].secrets
    await refuses(scope, receive, send)

async def spins(scope, receive, send):
    await _lifeless(scope)
    while True:
        await asyncio.sleep(0)

async def exits(scope, receive, send):
    await _lifeless(scope)
    raise SystemExit(0)

class Twice:
    def __call__(self, scope, receive, send):
        return refuses(scope, receive, send)

class inner:
    app = Twice()

number = 7

def odd(path, mode):
    return None
"""


@pytest.fixture
def foreign(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run one quick scenario against an app of ``APPS``."""
    (shell.folder / "their_gateway.py").write_text(APPS)
    monkeypatch.syspath_prepend(str(shell.folder))
    monkeypatch.delitem(sys.modules, "their_gateway", raising=False)

    def run(app: str, *arguments: str) -> tuple[int, str, str]:
        return shell("run", QUICK, "--target", f"their_gateway:{app}", "--workers", "1", "--out", "run", *arguments)

    return run


def record_of(folder: Path) -> dict[str, Any]:
    verdict: dict[str, Any] = orjson.loads((folder / "run" / "verdict.json").read_bytes())
    return verdict


def notes_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "run" / f"{QUICK}-0" / "history.jsonl").read_bytes().splitlines()
    return [span for line in lines if (span := orjson.loads(line))["span"] == "note" and span["kind"] == kind]


@pytest.mark.parametrize("app", ["never_answers", "clings"])
def test_a_target_that_never_answers_is_judged(shell: Shell, foreign: Any, app: str) -> None:
    code, out, _ = foreign(app)
    assert code in (1, 2)
    lines = (shell.folder / "run" / f"{QUICK}-0" / "history.jsonl").read_bytes().splitlines()
    outcomes = {span["outcome"] for line in lines if (span := orjson.loads(line))["span"] == "call"}
    assert outcomes == {"open"}
    assert notes_of(shell.folder, "target_stuck")[0]["detail"]["tasks"] > 0
    assert "ERROR" not in out


@pytest.mark.parametrize("app", ["refuses", "made", "made_with", "inner.app", "stateful"])
def test_an_app_and_what_makes_one_are_run(shell: Shell, foreign: Any, app: str) -> None:
    assert foreign(app)[0] in (1, 2)
    assert record_of(shell.folder)["scenarios"][0]["error"] is None
    assert not notes_of(shell.folder, "target_raised")


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("blocks", "time.sleep"),
        ("never_starts", "never_starts"),
        ("never_made", "never_made"),
        ("starts_not", "no database"),
        ("makes_nothing", "no ASGI app"),
        ("makes_trouble", "no such provider"),
        ("spins", "spins"),
        ("exits", "SystemExit"),
    ],
)
def test_what_a_target_does_to_the_run_is_its_own_fault(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, foreign: Any, app: str, said: str
) -> None:
    monkeypatch.setattr("harness.sim.clockwork.COLLECT_EVERY", 1 << 12)  # what turns without end is seen sooner
    code, out, _ = foreign(app)
    assert code == 69
    assert said in out
    error = record_of(shell.folder)["scenarios"][0]["error"]
    assert error["kind"] == "target"
    assert "Traceback" not in out


def test_the_headline_of_an_inconclusive_run_says_why(shell: Shell, foreign: Any) -> None:
    code, out, _ = foreign("refuses", "billing.failed_calls_cost_nothing")
    assert code == 2
    headline = out[out.rindex("\nINCONCLUSIVE") :].splitlines()[1]
    assert "planned fault" in headline
    assert "never fired" in headline
    assert "never fired" in (shell.folder / "run" / "summary.md").read_text()


def test_an_exception_of_the_target_is_kept_and_shown(shell: Shell, foreign: Any) -> None:
    _, out, _ = foreign("raises")
    assert "raised" in out
    assert "KeyError" in out
    assert "their_gateway.py" in out  # the traceback says where
    first = notes_of(shell.folder, "target_raised")[0]["detail"]
    assert first["type"] == "KeyError"
    assert first["request"].split()[0] in ("GET", "POST")
    assert first["count"] >= 1
    assert str(shell.folder) not in first["message"]
    assert " at 0x>" in first["message"]  # no address of this machine's memory
    raised = record_of(shell.folder)["scenarios"][0]["raised"]
    assert "Traceback" in raised["traceback"]
    assert "Raised in the target" in (shell.folder / "run" / "report.html").read_text()


def test_the_same_exceptions_give_the_same_history(shell: Shell, foreign: Any) -> None:
    foreign("raises")
    digest = record_of(shell.folder)["scenarios"][0]["digest"]
    foreign("raises")
    assert record_of(shell.folder)["scenarios"][0]["digest"] == digest


def test_a_task_of_the_target_that_fails_does_not_end_the_run(shell: Shell, foreign: Any) -> None:
    code, out, _ = foreign("raises_aside")
    assert code in (1, 2)
    assert notes_of(shell.folder, "target_raised")[0]["detail"]["request"] == "task _fails"
    assert "nobody waits for this" in out


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("json:loads", "scope, receive, send"),
        ("their_gateway:number", "no ASGI app"),
        ("their_gateway:odd", "no ASGI app"),
        ("their_gateway:refusse", "refuses"),
        ("their_gatewy:app", "their_gateway"),
        ("no.such.module:app", "no module 'no'"),
        ("json:", "no attribute"),
        (":app", "names no module"),
    ],
)
def test_what_is_no_app_is_refused_with_what_would_be(shell: Shell, foreign: Any, target: str, said: str) -> None:
    code, out, err = shell("run", QUICK, "--target", target, "--out", "run")
    assert code == 64
    assert said in err
    assert "help:" in err
    assert out == ""
    assert not (shell.folder / "run").exists()


def test_a_module_that_fails_as_it_is_imported_is_the_targets_fault(shell: Shell, foreign: Any) -> None:
    (shell.folder / "bad_gateway.py").write_text("1 / 0\n")
    (shell.folder / "lost_gateway.py").write_text("import no_such_dependency\n")
    (shell.folder / "gone_gateway.py").write_text("raise SystemExit(0)\n")
    for module, said in (
        ("bad_gateway", "division by zero"),
        ("lost_gateway", "no_such_dependency"),
        ("gone_gateway", "SystemExit"),
    ):
        code, _, err = shell("run", QUICK, "--target", f"{module}:app")
        assert code == 69
        assert said in err


def test_a_target_claims_what_its_file_says(shell: Shell, foreign: Any) -> None:
    (shell.folder / "claims.toml").write_text('claims = ["ERR-*", "!ERR-01.anthropic_type"]\n')
    scenario = "errors.models_that_nobody_has"
    code, _, _ = foreign("raises", scenario, "--claims", "claims.toml")
    verdict = record_of(shell.folder)
    clauses = verdict["requirements"]["ERR-01"]["clauses"]
    assert code == 1
    assert clauses["error_object"]["outcome"] == "fail"
    assert clauses["anthropic_type"]["outcome"] == "unsupported"
    assert "--claims claims.toml" in verdict["requirements"]["ERR-01"]["replay"]
    assert shell("replay", "run")[0] == 0
    assert shell("judge", "run")[0] == 1
    assert record_of(shell.folder)["requirements"] == verdict["requirements"]


def test_what_a_target_does_not_claim_leaves_nothing_open(shell: Shell, foreign: Any) -> None:
    (shell.folder / "claims.toml").write_text('claims = ["ERR-*"]\n')
    code, _, _ = foreign("refuses", "--claims", "claims.toml")  # it shows no books, and claims nothing of them
    assert code == 2
    assert record_of(shell.folder)["verdict"] == "unsupported"
    assert "nothing that this target claims" in record_of(shell.folder)["why"][0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('claims = ["BIL-01", "INS-99"]', ["'BIL-01'", "BILL-01", "'INS-99'"]),
        ("claims = 3", ["one list of patterns"]),
        ("claims = [", ["claims.toml"]),
    ],
)
def test_claims_that_cannot_be_are_told_with_the_near_ids(
    shell: Shell, foreign: Any, text: str, said: list[str]
) -> None:
    (shell.folder / "claims.toml").write_text(text)
    code, _, err = foreign("refuses", "--claims", "claims.toml")
    assert code == 64
    assert "docs/targets.md" in err
    for word in said:
        assert word in err


def test_the_reference_gateway_has_claims_of_its_own(shell: Shell) -> None:
    assert shell("run", QUICK, "--claims", "claims.toml")[0] == 64


def test_a_target_is_one_registered_class(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KINDS", dict(registry.kinds()))

    @registry.target("mine", modes=("sim",), use="harness run --target mine")
    class Mine(ImportedTarget):
        """A gateway of mine."""

        def __init__(self, spec: registry.Spec) -> None:
            super().__init__({**spec, "name": "harness.targets.imported:ImportedTarget"})

    _, out, _ = shell("list", "targets")
    assert "harness run --target mine" in out
    assert "A gateway of mine." in out
    code, _, err = shell("run", QUICK, "--target", "mien")
    assert code == 64
    assert "'mine'" in err
    code, _, err = shell("run", QUICK, "--target", "mine")
    assert code == 64
    assert "no ASGI app" in err  # it was made, and what it imports is none


# By its address


class _Served(BaseHTTPRequestHandler):
    """Answers as ``server.answer`` says: a function from path and Authorization to status, type and body."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, kind, body = self.server.answer(self.path, self.headers.get("authorization", ""))  # type: ignore[attr-defined] # set below
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the standard library's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Answer = Callable[[str, str], tuple[int, str, bytes]]


@contextmanager
def http_server(answer: Answer) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Served)
    server.answer = answer  # type: ignore[attr-defined] # read by the handler above
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def gateway_with(key: str) -> Answer:
    """Return a gateway that turns away whoever has another key."""

    def answer(path: str, authorization: str) -> tuple[int, str, bytes]:
        known = authorization == f"Bearer {key}"
        body = {"object": "list", "data": []} if known else {"error": {"type": "authentication_error", "message": "no"}}
        return (200 if known else 401), "application/json", orjson.dumps(body)

    return answer


@contextmanager
def mute_server() -> Iterator[str]:
    """Listen, take whatever connects, and say something that is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with closing(connection):
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def nobody() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


def _page(path: str, authorization: str) -> tuple[int, str, bytes]:
    return 200, "text/html", b"<html>Welcome</html>"


def _other_api(path: str, authorization: str) -> tuple[int, str, bytes]:
    return 404, "application/json", b'{"detail": "Not Found"}'


KEY = "ck_never_to_be_written_down"


@pytest.mark.parametrize(
    ("there", "arguments", "code", "said"),
    [
        (nobody, (), 69, "no gateway answered"),
        (nobody, ("--key", f"a={KEY}"), 69, "no gateway answered"),
        (mute_server, ("--key", f"a={KEY}"), 69, "no HTTP answer"),
        (lambda: http_server(_page), ("--key", f"a={KEY}"), 69, "no gateway of this API"),
        (lambda: http_server(_other_api), ("--key", f"a={KEY}"), 69, "no gateway of this API"),
        (lambda: http_server(gateway_with(KEY)), (), 64, "no key"),
        (lambda: http_server(gateway_with(KEY)), ("--key", "a=ck_wrong", "--key", f"b={KEY}"), 69, "the key of a"),
    ],
    ids=["nobody", "nobody-key", "no-http", "web-page", "other-api", "no-key", "wrong-key"],
)
def test_an_address_is_tried_before_anything_runs(
    shell: Shell, there: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(there())
        found, out, err = shell("run", QUICK, "--target", url, *arguments, "--workers", "1", "--out", "run")
    assert found == code
    assert said in err
    assert "help:" in err
    assert KEY not in err
    assert out == ""
    assert not (shell.folder / "run").exists()


@pytest.mark.parametrize("target", ["http://", "ftp://gateway.example", "http://a:b:c"])
def test_what_is_no_address_is_refused(shell: Shell, target: str) -> None:
    code, _, err = shell("run", QUICK, "--target", target)
    assert code == 64
    assert "no address" in err


@pytest.mark.parametrize("given", ["--key a=SECRET", "--key=a=SECRET", "--key a"])
def test_a_customers_key_is_in_no_file_of_the_run(shell: Shell, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HARNESS_KEY_A", KEY)
    with http_server(gateway_with(KEY)) as url:
        arguments = given.replace("SECRET", KEY).split()
        shell("run", QUICK, "--target", url, *arguments, "--workers", "1", "--out", "run")
    files = [path for path in (shell.folder / "run").rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    replay = record_of(shell.folder)["scenarios"][0]["replay"]
    assert "--key a" in replay
    assert f"--target {url}" in replay


def test_a_key_that_is_nowhere_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_KEY_B", raising=False)
    code, _, err = shell("run", QUICK, "--target", "http://127.0.0.1:1", "--key", "b")
    assert code == 64
    assert "HARNESS_KEY_B" in err
