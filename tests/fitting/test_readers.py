"""Readers of measurements: formats, units, columns, and rows that hold what is not allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvxqueue import InvalidInputError
from cvxqueue.fitting import read_answers, read_requests
from tests.measurements import AZURE_HEAD, H100_TIMES, vllm_result


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A path for a file whose name says nothing of its format."""
    return tmp_path / "measured.csv"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def service_rows(count: int) -> str:
    return "".join(f"{100 + k},{1.0 + 0.01 * k}\n" for k in range(count))


def test_a_tidy_table(written: Path) -> None:
    write(written, "task,tokens,seconds,budget\nmath,100,1.5,128\ncode,200,2.5,256\n")
    found = read_requests(written)
    assert found.column("tokens").tolist() == [100.0, 200.0]
    assert found.column("seconds").tolist() == [1.5, 2.5]
    assert found.column("budgets").tolist() == [128.0, 256.0]
    assert found.types == ("math", "code")
    assert found.arrivals is None
    assert found.source.sentence == "measured.csv (csv, 2 rows)"
    assert found.warnings == ()
    assert not found.column("tokens").flags.writeable
    with pytest.raises(InvalidInputError, match=r"requests of measured\.csv have no arrivals"):
        found.column("arrivals")


@pytest.mark.parametrize(
    ("header", "scale"),
    [
        ("latency_ms", 1e-3),
        ("Latency (ms)", 1e-3),
        ("total_time_s", 1.0),
        ("SECONDS", 1.0),
        ("duration_seconds", 1.0),
        ("latencyMs", 1e-3),
        ("latency_us", 1e-6),
        ("Duration [ns]", 1e-9),
        ("service_time_minutes", 60.0),
        ("latency_h", 3600.0),
        ("Latency (hours)", 3600.0),
        ("latency_hours", 3600.0),
        ("durationDays", 86400.0),
        ("total time (milliseconds)", 1e-3),
    ],
)
def test_units_are_converted_once(written: Path, header: str, scale: float) -> None:
    write(written, f"tokens,{header}\n100,1500\n200,2500\n")
    expected = [1500 * scale, 2500 * scale]
    assert read_requests(written).column("seconds").tolist() == expected
    named = read_requests(written, columns={"seconds": header})
    assert named.column("seconds").tolist() == expected


def test_a_named_column_has_the_unit_of_its_name(written: Path) -> None:
    write(written, "n,wall_ms,tokens\n7,1500,3\n9,2500,4\n")
    found = read_requests(written, columns={"tokens": "n", "seconds": "wall_ms"})
    assert found.column("seconds").tolist() == [1.5, 2.5]
    assert found.column("tokens").tolist() == [7.0, 9.0]


@pytest.mark.parametrize("name", ["arrival_days", "start_ms"])
def test_a_date_has_a_unit_of_its_own(written: Path, name: str) -> None:
    write(written, f"{name}\n2026-01-01\n2026-01-01 00:00:07\n")
    found = read_requests(written, needs=("arrivals",), columns={"arrivals": name})
    assert found.column("arrivals").tolist() == [0.0, 7.0]


def test_decimal_commas_are_told_from_other_text(written: Path) -> None:
    write(written, "start;tokens;seconds\n1;100;0,7\n2;200;1,4\n")
    with pytest.raises(
        InvalidInputError, match=r"seconds = '0,7' is not a number; write a decimal point$"
    ):
        read_requests(written)
    write(written, "start;tokens\n1,5;100\n")
    with pytest.raises(InvalidInputError, match=r"date and time; write a decimal point$"):
        read_requests(written, needs=("arrivals",))


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters(written: Path, delimiter: str) -> None:
    write(written, f"tokens{delimiter}seconds\n100{delimiter}1.5\n")
    assert read_requests(written).column("seconds").tolist() == [1.5]


def test_a_byte_order_mark_blank_lines_and_quoted_cells(written: Path) -> None:
    write(written, '\ufefftokens,seconds,note\n\n100,1.5,"a, b"\r\n\n200,2.5,"two\nlines"\n')
    assert read_requests(written).column("tokens").tolist() == [100.0, 200.0]


def test_an_azure_trace(written: Path) -> None:
    write(written, AZURE_HEAD)
    found = read_requests(written, needs=("arrivals",))
    assert found.source.format == "azure"
    # To the microsecond; the origin is the first arrival.
    np.testing.assert_allclose(found.column("arrivals"), [0.0, 4.314579, 4.541877], atol=2e-6)
    assert found.column("tokens").tolist() == [44.0, 109.0, 55.0]
    assert found.column("prompt_tokens").tolist() == [374.0, 396.0, 879.0]


def test_time_zones_are_understood(written: Path) -> None:
    write(
        written,
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00.009930+00:00,1,2\n2024-05-10T02:00:01+02:00,1,2\n",
    )
    found = read_requests(written, needs=("arrivals",))
    np.testing.assert_allclose(found.column("arrivals"), [0.0, 0.99007], atol=1e-6)


def test_a_mooncake_trace_is_in_milliseconds(tmp_path: Path) -> None:
    path = write(
        tmp_path / "trace.jsonl",
        '{"timestamp": 1000, "input_length": 655, "output_length": 52, "hash_ids": [0, 1]}\n'
        '{"timestamp": 3500, "input_length": 1800, "output_length": 26, "hash_ids": [0]}\n',
    )
    found = read_requests(path, needs=("arrivals",))
    assert found.source.format == "mooncake"
    assert found.column("arrivals").tolist() == [0.0, 2.5]
    assert found.column("tokens").tolist() == [52.0, 26.0]
    assert found.column("prompt_tokens").tolist() == [655.0, 1800.0]


def test_a_vllm_result(tmp_path: Path) -> None:
    path = write(tmp_path / "result.json", vllm_result(requests=5))
    found = read_requests(path)
    assert found.source.format == "vllm"
    tokens = found.column("tokens")
    np.testing.assert_allclose(found.column("seconds"), 0.05 + 0.007 * (tokens - 1))
    assert found.column("prompt_tokens").tolist() == [128.0] * 5
    assert found.arrivals is not None
    assert found.arrivals[0] == 0.0
    # One after the other: nothing is shared.
    assert found.warnings == ()


def test_failed_requests_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", vllm_result(requests=4, errors=["", "timeout", "", ""]))
    found = read_requests(path)
    assert (found.source.rows, found.source.failed) == (3, 1)
    assert "1 failed left out" in found.source.sentence
    assert any("1 failed request left out" in warning for warning in found.warnings)


def test_appended_vllm_results_are_read_together(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", vllm_result(requests=3) + "\n" + vllm_result(requests=4))
    found = read_requests(path)
    assert found.source.rows == 7


def test_a_vllm_result_without_start_times_has_its_concurrency(tmp_path: Path) -> None:
    result = json.loads(vllm_result(requests=4, max_concurrency=8))
    del result["start_times"]
    found = read_requests(write(tmp_path / "r.json", json.dumps(result)))
    assert found.column("concurrency").tolist() == [8.0] * 4
    assert "4 of 4 requests were served at a concurrency above 1 (up to 8)" in found.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"duration": 1.0}), "no list 'output_lens'.*--save-detailed"),
        ("{" + "1" * 50, "not valid JSON"),
        ('{"a": 1} [2]', "is a JSON object"),
        (vllm_result(requests=3, ttfts=[0.1]), "ttfts must be a list of one entry"),
        (
            vllm_result(requests=2, itls=["x", "y"]),
            r"all rows are malformed \(2\).*request 0: ttfts and itls",
        ),
        (vllm_result(requests=2, errors=["no", "no"]), "all 2 requests failed"),
        (vllm_result(requests=2, ttfts=[None, True]), "request 0: ttfts and itls"),
    ],
)
def test_bad_vllm_results_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_requests(write(tmp_path / "result.json", text))


def test_overlapping_requests_are_called_out(written: Path) -> None:
    write(written, "start,tokens,seconds\n0,100,1.5\n1,100,1.5\n3,100,1.5\n4.4,100,1.5\n")
    found = read_requests(written)
    flight = found.in_flight
    assert flight is not None
    assert flight.tolist() == [1.0, 2.0, 1.0, 2.0]
    assert "2 of 4 requests were served at a concurrency above 1 (up to 2)" in found.warnings[0]
    assert "one query at a time" in found.warnings[0]


def test_rounded_clocks_are_no_overlap(written: Path) -> None:
    # One request right after another, with times to the millisecond, since 1970.
    times = np.random.default_rng(0).uniform(1.0, 3.0, 50)
    starts = 1.7e9 + np.concatenate(([0.0], np.cumsum(times)[:-1]))
    rows = "".join(f"{s:.3f},100,{t:.3f}\n" for s, t in zip(starts, times, strict=True))
    write(written, "start,tokens,seconds\n" + rows)
    assert read_requests(written).warnings == ()


def test_milliseconds_since_1970_are_not_taken_for_seconds(written: Path) -> None:
    for name in ("timestamp", "timestamp_ms"):
        write(written, f"{name}\n1700000000000\n1700000001000\n")
        if name == "timestamp":
            message = "numbers of milliseconds since 1970.*arrivals=timestamp_milliseconds"
            with pytest.raises(InvalidInputError, match=message):
                read_requests(written, needs=("arrivals",))
    assert read_requests(written, needs=("arrivals",)).column("arrivals").tolist() == [0.0, 1.0]


def test_a_concurrency_column_is_called_out(written: Path) -> None:
    rows = "".join(f"{at},{prompt},{out},{t}\n" for at, prompt, out, t in H100_TIMES)
    write(written, "batch_or_concurrency,prompt_tokens,output_tokens,total_time_s\n" + rows)
    every = read_requests(written)
    assert "5 of 10 requests were served at a concurrency above 1 (up to 128)" in every.warnings[0]
    alone = read_requests(written, where={"batch_or_concurrency": "1.0"})
    assert alone.source.rows == 5
    assert alone.warnings == ()
    assert "where batch_or_concurrency = 1.0" in alone.source.sentence


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("x,1.0", "tokens = 'x' is not a number"),
        ("1_000,1.0", "tokens = '1_000' must be ≥ 0"),
        ("nan,1.0", "tokens = 'nan' must be ≥ 0"),
        ("100,inf", "seconds = 'inf' must be > 0"),
        ("100,0", r"seconds = '0' must be > 0 \(a time\)"),
        ("-1,1.0", "tokens = '-1' must be ≥ 0"),
        ("100,", "seconds is empty"),
        ("100", "1 cells for 2 columns"),
        ("100,1.0,2.0", "3 cells for 2 columns"),
        ('"100"x,1.0', "expected after"),
    ],
)
def test_malformed_rows_are_counted_and_the_first_is_shown(
    written: Path, row: str, problem: str
) -> None:
    # Line 1 is the header, lines 2 to 151 are good, then one that is not.
    write(written, "tokens,seconds\n" + service_rows(150) + f"{row}\n" + service_rows(50))
    found = read_requests(written)
    assert (found.source.rows, found.source.malformed) == (200, 1)
    assert found.source.first_malformed.startswith("line 152: ")
    with pytest.raises(InvalidInputError, match=problem):
        read_requests(written, max_malformed=0.0)
    assert any("1 malformed row left out" in warning for warning in found.warnings)


def test_more_than_one_percent_malformed_is_an_error_unless_allowed(written: Path) -> None:
    write(written, "tokens,seconds\n" + service_rows(98) + "a,1\nb,1\n")
    message = r"measured.csv: 2 of 100 rows are malformed.*0.01 that is allowed.*line 100: tokens"
    with pytest.raises(InvalidInputError, match=message):
        read_requests(written)
    found = read_requests(written, max_malformed=0.02)
    assert (found.source.rows, found.source.malformed) == (98, 2)
    assert found.source.sentence.endswith("(csv, 98 rows, 2 malformed left out)")


def test_a_malformed_row_does_not_set_the_clock(written: Path) -> None:
    write(written, "start,budget\n5,x\n2026-01-01,1\n2026-01-01 00:00:07,2\n")
    found = read_requests(written, needs=("arrivals",), max_malformed=0.5)
    assert found.source.malformed == 1
    assert found.column("arrivals").tolist() == [0.0, 7.0]


def test_line_numbers_count_the_lines_of_quoted_cells(written: Path) -> None:
    write(written, 'tokens,seconds,note\n1,1,"a\nb"\nx,1,c\n')
    with pytest.raises(InvalidInputError, match="line 4: tokens = 'x'"):
        read_requests(written)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("null", "is empty"),
        ('"x"', "neither a number nor a date"),
        ("1e999", "a finite number"),
        ("1" + "0" * 400, "a finite number"),
        ("[1]", "neither a number"),
    ],
)
def test_json_cells_that_are_no_times(tmp_path: Path, cell: str, problem: str) -> None:
    line = f'{{"timestamp": {cell}, "input_length": 1, "output_length": 2}}\n'
    with pytest.raises(InvalidInputError, match=f"line 1: timestamp .*{problem}"):
        read_requests(write(tmp_path / "t.jsonl", line), needs=("arrivals",))


def test_malformed_json_lines_are_counted(tmp_path: Path) -> None:
    good = '{"timestamp": %d, "input_length": 1, "output_length": 2, "hash_ids": []}\n'
    text = "".join(good % k for k in range(300)) + "{broken\n" + "[1]\n" + good % 301
    found = read_requests(write(tmp_path / "t.jsonl", text), needs=("arrivals",))
    assert (found.source.rows, found.source.malformed) == (301, 2)
    assert found.source.first_malformed.startswith("line 301: not valid JSON")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"tokens,seconds\n", "no row is left"),
        (b"tokens,seconds\n1,1\n2,\xff\n", "byte 0xff in line 3 is not UTF-8"),
        (b"tokns,seconds\n1,1\n", "no column for tokens.*did you mean 'tokns'"),
        (b"tokens,secs\n1,1\n", "no column for seconds.*did you mean 'secs'"),
        (b"tokens,tokens\n1,1\n", "column 'tokens' occurs more than once"),
        (b'tokens,seconds\n1,1\n"2,2\n3,3\n', "quotation mark in line 3 is never closed"),
        (b'"tok"ens,seconds\n1,1\n', "line 1: "),
    ],
)
def test_bad_files_are_refused(written: Path, content: bytes, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        read_requests(write(written, content))
    assert str(caught.value).startswith(str(written))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": {"modl": "small"}}, "no column 'modl'.*did you mean 'model'"),
        ({"where": {"model": "smal"}}, "no row has model = 'smal'.*did you mean 'small'"),
        ({"where": "seconds"}, "where must be a mapping by name, got 'seconds'"),
        ({"columns": {"tokens": "token"}}, "no column 'token'.*did you mean 'tokens'"),
        ({"columns": {"token": "tokens"}}, "'token' is no field: did you mean 'tokens'"),
        ({"columns": ["seconds"]}, "columns must be a mapping by name"),
        ({"format": "cvs"}, "format = 'cvs' is unknown: did you mean 'csv'"),
        ({"format": ["csv"]}, "format = .* is unknown"),
        ({"max_malformed": 2}, r"max_malformed = 2 must be in \[0, 1\]"),
        ({"max_malformed": "0.5"}, "max_malformed must be one number, got '0.5'"),
        ({"needs": "arrivals"}, "needs must be a list of strings, got 'arrivals'"),
        ({"needs": ["arrival"]}, "needs: 'arrival' is no field: did you mean 'arrivals'"),
        ({"path": "nowhere.csv"}, "cannot read .*No such file"),
        ({"path": 7}, "path must be a string or a path, got 7"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str, written: Path) -> None:
    write(written, "model,tokens,seconds\nsmall,1,1\nlarge,2,2\n")
    assert read_requests(written).source.rows == 2
    with pytest.raises(InvalidInputError, match=message):
        read_requests(**{"path": written, **options})


def test_answers_with_counts(written: Path) -> None:
    write(written, "type,tokens,correct,total\na,100,3,10\nb,200,4,8\na,300,9,10\n")
    found = read_answers(written)
    assert found.accuracy.tolist() == [0.3, 0.5, 0.9]
    of_a = found.by_type()["a"]
    assert of_a.tokens.tolist() == [100.0, 300.0]
    assert of_a.accuracy.tolist() == [0.3, 0.9]
    assert of_a.total is not None
    assert of_a.total.tolist() == [10.0, 10.0]


def test_answers_one_a_row(written: Path) -> None:
    write(written, "tokens,is_correct\n100,true\n200,False\n300,1\n")
    found = read_answers(written)
    assert found.accuracy.tolist() == [1.0, 0.0, 1.0]
    assert found.total is not None
    assert found.total.tolist() == [1.0] * 3


@pytest.mark.parametrize("cell", ["true", "FALSE"])
@pytest.mark.parametrize("column", ["tokens", "seconds", "start"])
def test_nothing_but_an_answer_is_true_or_false(cell: str, column: str, written: Path) -> None:
    cells = {"tokens": "100", "seconds": "1.5", "start": "0.5", column: cell}
    write(written, f"{','.join(cells)}\n{','.join(cells.values())}\n")
    with pytest.raises(InvalidInputError, match=f"{column} = '{cell}' is n"):
        read_requests(written)
    row = {"tokens": 100, "seconds": 1.5, "start": 0.5, column: cell == "true"}
    write(written, json.dumps(row) + "\n")
    with pytest.raises(InvalidInputError, match=f"{column} = '{cell.title()}' is n"):
        read_requests(written, format="jsonl")


def test_the_least_time_is_in_no_minutes(written: Path) -> None:
    write(written, "tokens,latency_min,latency_max\n100,1.5,2.5\n")
    with pytest.raises(InvalidInputError, match="no column for seconds"):
        read_requests(written)
    columns = {"seconds": "latency_min"}
    assert read_requests(written, columns=columns).column("seconds").tolist() == [1.5]
    write(written, "tokens,latency_min\n100,1.5\n")
    assert read_requests(written).column("seconds").tolist() == [90.0]


def test_accuracies_with_and_without_the_number_of_answers(written: Path) -> None:
    write(written, "dataset,budget_tokens,accuracy,n_questions\na,100,0.3,30\na,200,0.5,30\n")
    found = read_answers(written)
    assert found.total is not None
    assert found.types == ("a", "a")
    # A column that is empty throughout is as good as none.
    write(written, "budget_tokens,accuracy,n_questions\n100,0.3,\n200,0.5,\n")
    assert read_answers(written).total is None
    # What was used comes before what was allowed.
    write(written, "budget_tokens,mean_tokens_used,accuracy\n100,80,0.3\n200,150,0.5\n")
    assert read_answers(written).tokens.tolist() == [80.0, 150.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens,accuracy\n1,64.0\n", r"accuracy = '64.0' must be in \[0, 1\].*not a percentage"),
        ("tokens,correct,total\n1,5,4\n", "line 2: correct = 5 must be at most total = 4"),
        ("tokens,correct\n1,5\n", "right answers need their number: no column for total"),
        (
            "tokens,seconds\n1,5\n",
            r"no column for correct \(right answers\) or accuracy \(fraction of right answers\); "
            "name it 'correct' or 'accuracy'",
        ),
        ("tokens,accuracy,type\n1,0.5,\n2,0.5,a\n", "1 of 2 rows.*type is empty"),
    ],
)
def test_bad_answers_are_refused(written: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_answers(write(written, text))
