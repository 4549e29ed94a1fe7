"""``harness limiter``: a right gateway and wrong ones are told for what they are, and so is a recorded run."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from harness.cli.limiter_record import kept_promise
from harness.cli.main import harness
from harness.load.limiter import identify
from harness.load.observations import Observation


def ran(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(harness, ["limiter", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_the_reference_gateway_has_a_sliding_log_and_its_record_says_so_again(tmp_path: Path) -> None:
    code, told = ran("--limit", "5", "--out", str(tmp_path))
    assert code == 0
    assert told.startswith("sliding log, per account and model\n")
    assert "not proved" in told
    record = orjson.loads((tmp_path / "limiter.json").read_bytes())
    assert record["promise_kept"] is True
    (log,) = [one for one in record["identification"]["findings"] if one["fits"]]
    assert log["ranges"]["limit"] == [5, 5]
    assert 58 < log["ranges"]["window"][0] < 60.1
    assert [one["why"] for one in record["shared"]] == [
        f"{word} while {thing}-before and {thing}-after were refused before and after"
        for thing, word in (("key", "refused"), ("account", "let in"), ("model", "let in"))
    ]
    assert "sliding log, per account and model" in (tmp_path / "limiter.html").read_text("utf-8")
    (tmp_path / "limiter.json").unlink()
    assert ran(str(tmp_path)) == (code, told)  # the plan alone says what was promised


def test_a_judged_run_has_its_limiter_in_its_report(tmp_path: Path) -> None:
    code, told = ran("--tier", "general", "--limit", "5", "--out", str(tmp_path))
    assert code == 0
    assert told.startswith("sliding log, per account\n")
    assert CliRunner().invoke(harness, ["judge", str(tmp_path)]).exit_code == 0
    assert 'id="limiter"' in (tmp_path / "report.html").read_text("utf-8")
    assert "more than 5 in" in told
    assert ran(str(tmp_path)) == (code, told)


@pytest.mark.parametrize(
    ("mutant", "headline"),
    [
        ("forgets_requests_at_the_minute", "fixed window, per account and model"),
        ("refills_its_window_bit_by_bit", "token bucket, per account and model"),
        ("keeps_a_window_for_each_key", "sliding log, per key and model"),
    ],
)
def test_wrong_limiters_are_told_for_what_they_are(mutant: str, headline: str, tmp_path: Path) -> None:
    code, told = ran("--mutant", mutant, "--out", str(tmp_path))
    assert told.partition("\n")[0] == headline
    assert code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "http://127.0.0.1:9", "--key", "a=x"), "too many to ask"),
        (("--target", "http://127.0.0.1:99999", "--key", "a=x"), "a port from 1 to 65535"),
        (("--target", "http://127.0.0.1:9", "--key", "a=x\r\ny: z"), "a secret is visible ASCII"),
        (("--mode", "remote"), "can be run in"),
        (("--mutant", "no_such"), "no mutant"),
        (("--window", "0.5"), "cannot be set so"),
        (("no-such-folder",), "no recorded history"),
        (("no-such-folder", "--limit", "6"), "--limit: of no use with a recorded run"),
        (("no-such-folder", "--tier", "managed", "--key", "a=x"), "--key, --tier: of no use"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    code, told = ran(*arguments, *(() if arguments[0] == "no-such-folder" else ("--out", str(tmp_path))))
    assert code == 64
    assert said in told


@pytest.mark.parametrize(
    ("asked", "admits", "refuses", "kept"),
    [
        (7, 6, True, None),  # the contract's ten were never asked for, whatever was guessed
        (11, 10, True, True),
        (11, 9, True, False),
        (11, 11, False, False),
    ],
)
def test_the_promise_is_the_contracts_figures_and_not_the_guess(
    asked: int, admits: int, refuses: bool, kept: bool | None
) -> None:
    seen = [Observation(f"c{n}", n, n, n < admits) for n in range(asked)]
    found = identify(seen)
    assert bool(found.refused) is refuses
    assert kept_promise(seen, found, [], "managed", 10, 60.0) is kept
