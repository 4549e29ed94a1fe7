"""Text made safe and short, and numbers made readable."""

from __future__ import annotations

import pytest

from reports.text import clipped, line, milliseconds, plural, safe, seconds, slug


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain, 'ünïcode' 漢字\tand\nlines", "plain, 'ünïcode' 漢字\tand\nlines"),
        ("null \x00 escape \x1b[31m", "null \\x00 escape \\x1b[31m"),
        ("c1 \x85 and del \x7f", "c1 \\x85 and del \\x7f"),
        ("turned \u202eround", "turned \\u202eround"),
        ("hidden \u200b\ufeff", "hidden \\u200b\\ufeff"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("carriage\rreturn", "carriage\\x0dreturn"),
        (None, "None"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(given: object, shown: str) -> None:
    assert safe(given) == shown


def test_long_text_is_cut_at_bytes_and_says_how_much_is_missing() -> None:
    text = "é" * 5_000
    cut = clipped(text)
    assert cut == "é" * 2048 + "… (2,952 more characters)"
    assert clipped("x" * 4096) == "x" * 4096
    assert clipped(text, 3) == "é… (4,999 more characters)"


def test_a_line_has_no_line_breaks() -> None:
    assert line("a\r\n\tb\n\nc") == "a b c"


@pytest.mark.parametrize(
    ("us", "ms", "s"),
    [
        (0, "0 ms", "0 s"),
        (1, "0.001 ms", "0 s"),
        (90_000_999, "90,000.999 ms", "90.001 s"),
        (20_000, "20 ms", "0.02 s"),
        (-1_500, "-1.5 ms", "-0.002 s"),
        (None, "–", "–"),
    ],
)
def test_times_are_exact_and_without_idle_zeros(us: int | None, ms: str, s: str) -> None:
    assert milliseconds(us) == ms
    assert seconds(us) == s


def test_counts_agree_with_their_nouns() -> None:
    assert [plural(n, "call") for n in (0, 1, 2, 1204)] == ["0 calls", "1 call", "2 calls", "1,204 calls"]


@pytest.mark.parametrize(
    ("name", "made"),
    [("BILL-01-input.x_y", "BILL-01-input.x_y"), ('"><script>', "x-script-"), ("1 a", "x1-a"), ("", "x")],
)
def test_ids_hold_no_character_that_html_or_a_link_would_misread(name: str, made: str) -> None:
    assert slug(name) == made
