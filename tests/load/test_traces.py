"""Public arrival traces: three formats are read, and a bad row is named with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.load.trace import Arrival, TraceError, check_trace, read_trace

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,110,27\n"
)
BURSTGPT = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
MOONCAKE = '{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "trace"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AZURE, [Arrival(0, 4808, 10), Arrival(52_000, 110, 27)]),
        ("\ufeff" + AZURE.replace("\n", "\r\n"), [Arrival(0, 4808, 10), Arrival(52_000, 110, 27)]),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.5,1,2\n2023-11-17 00:00:00,3,4\n",
            [Arrival(0, 1, 2), Arrival(500_000, 3, 4)],
        ),
        (
            BURSTGPT + "5,1,2.5,ChatGPT,472,18,490,Conversation log\n\n45.25,2,1,GPT-4,1087,0,1087,API log\n",
            [Arrival(0, 472, 18), Arrival(40_250_000, 1087, 0)],
        ),
        (
            MOONCAKE + "\n" + MOONCAKE.replace("27482", "27483.5"),
            [Arrival(0, 6955, 52), Arrival(1_500, 6955, 52)],
        ),
    ],
    ids=["azure", "azure with BOM and CRLF", "azure over midnight", "burstgpt", "mooncake"],
)
def test_a_trace_is_read_as_instants_since_its_first_row_and_sizes(
    tmp_path: Path, text: str, expected: list[Arrival]
) -> None:
    assert list(read_trace(written(tmp_path, text))) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace: it is empty"),
        ("a,b\n1,2\n", "trace:1: no known trace has the columns a, b"),
        (AZURE + "2023-11-16 18:17:03.0,1,1\n", "trace:4: TIMESTAMP '2023-11-16 18:17:03.0' is before the row above"),
        (AZURE + "yesterday,1,1\n", "trace:4: TIMESTAMP 'yesterday' is no time"),
        (AZURE + "2023-11-16 18:17:05.0,-1,1\n", "trace:4: ContextTokens '-1' is no number of tokens"),
        (AZURE + "2023-11-16 18:17:05.0,1,1.5\n", "trace:4: GeneratedTokens '1.5' is no number of tokens"),
        (AZURE + "2023-11-16 18:17:05.0,1\n", "trace:4: 2 cells, and there are 3 columns"),
        (BURSTGPT + "-5,1,2,m,1,1,2,l\n", "trace:2: Timestamp '-5' is negative"),
        (BURSTGPT + "nan,1,2,m,1,1,2,l\n", "trace:2: Timestamp 'nan' is no time"),
        (BURSTGPT + "1e400,1,2,m,1,1,2,l\n", "trace:2: Timestamp '1e400' is no time"),
        (BURSTGPT + ",1,2,m,1,1,2,l\n", "trace:2: Timestamp '' is no time"),
        (MOONCAKE + "{not json\n", "trace:2: it is not JSON"),
        (MOONCAKE + "[1]\n", "trace:2: it is not a JSON object"),
        (MOONCAKE + '{"timestamp": 27483}\n', "trace:2: input_length None is no number of tokens"),
        (MOONCAKE + '{"timestamp": true}\n', "trace:2: timestamp True is no time"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n\xff\xfe,1,1\n", "trace: it is not UTF-8 text"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TraceError) as caught:
        list(read_trace(path))
    assert message in str(caught.value)


def test_a_trace_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        list(read_trace(tmp_path / "none.csv"))


def test_a_trace_is_checked_as_far_as_it_is_replayed(tmp_path: Path) -> None:
    path = written(tmp_path, AZURE + "yesterday,1,1\n")
    assert check_trace(path, 52_000) == (1, 0)
    with pytest.raises(TraceError, match=":4: "):
        check_trace(path, 10**9)
    with pytest.raises(TraceError, match="no row"):
        check_trace(written(tmp_path, AZURE.splitlines()[0] + "\n"), 10**9)
