"""Speed records: what is read and refused, who is ours and who the best peer, and every table on numbers from paper."""

import json
from io import StringIO

import pandas as pd
import pytest
from speed_factory import growth, loader, lost, ours, race, save

from maml_bench.errors import Notice
from maml_bench.report.speed.rows import best_peer, flat, load, load_growth, our_row, races
from maml_bench.report.speed.tables import absent, block, headline, surroundings, write_speed_tables
from maml_bench.report.speed.tables import growth as growth_tables


def read(results, *rows):
    save(results, *rows)
    return load(results)


def only(rows):
    (race,) = races(rows).values()
    return race


def test_rows_come_back_as_they_were_written_with_keys_of_their_own(tmp_path):
    rows = [ours(), {**race(), "samples": 9}]
    found = read(tmp_path, *rows, growth())
    assert [json.loads(json.dumps(flat(row))) for row in found] == [{**row, "episodes_per_s": None} for row in rows]
    assert load_growth(tmp_path) == [growth()]
    assert load(tmp_path / "nowhere") == load_growth(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not valid JSON"),
        ("{}", "is not a list of rows"),
        ("[1]", "row 1 is not a table"),
        ('[{"kind": "sped"}]', r"row 1 is of kind 'sped' \(did you mean 'speed'\?\)"),
        ("[{}]", "row 1 is of kind None"),
        ([{**race(), "median_s": "fast"}], "row 1: median_s is 'fast', but must be a number"),
        ([{**race(), "status": "fine"}], "row 1: status is 'fine', but must be one of 'ok', 'not built'"),
        ([race(), {**race(), "median_s": None}], "row 2 is ok, but has neither a median_s"),
        ([{**race(), "median_s": float("nan")}], "must be a finite number"),
        *[
            ([{key: v for key, v in race().items() if key != name}], f"row 1 lacks the key '{name}'")
            for name in ("median_s", "library", "machine_gflops", "commit")
        ],
    ],
)
def test_a_bad_file_is_skipped_with_one_sentence_that_names_it(tmp_path, content, sentence):
    path = save(tmp_path)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.warns(Notice, match=f"^speed record .*{path.name}.*{sentence}") as told:
        assert load(tmp_path) == []
    assert f"delete the file {path}" in str(told[0].message)
    assert "\n" not in str(told[0].message)


def test_a_folder_in_place_of_a_file_is_skipped(tmp_path):
    (tmp_path / "records" / "speed" / "a.json").mkdir(parents=True)
    with pytest.warns(Notice, match="cannot be read: Is a directory"):
        assert load(tmp_path) == []


def test_races_stand_in_reading_order_and_rows_fastest_first(tmp_path):
    rows = [loader(), race(bench="zoo"), race(bench="omniglot-q15"), race("a", 0.4), race("b", 0.2), ours()]
    found = races(read(tmp_path, *rows, lost(race("c"), "failed", "x")))
    assert [bench for bench, _ in found] == ["omniglot-q1", "omniglot-q15", "zoo", "loader-omniglot-5w1s"]
    assert [row.library for row in found["omniglot-q1", "0603ed1a"]] == ["maml-bench", "b", "a", "c"]


def test_machines_race_apart(tmp_path):
    assert len(races(read(tmp_path, race(), race(machine="ffffffff")))) == 2


def test_ours_is_the_row_that_users_get(tmp_path):
    rows = [ours(0.1, schedule="vmap"), ours(0.2), ours(0.15, memory="default"), lost(ours(), "failed", "x"), race()]
    found = only(read(tmp_path, *rows))
    assert (our_row(found).median_s, our_row(found).schedule, our_row(found).memory) == (
        0.2,
        "auto: native",
        "retained",
    )
    assert our_row([row for row in found if row.memory == "default"]).median_s == 0.15
    assert our_row([row for row in found if row.schedule == "vmap"]).median_s == 0.1
    assert our_row([row for row in found if not row.ours]) is None


def test_a_peer_with_another_gradient_is_not_the_best(tmp_path):
    wrong = {**race("fast", 0.01), "status": "gradient differs", "reason": "by 0.3"}
    found = only(
        read(
            tmp_path, ours(), wrong, race("loop", 0.2), race("a", 0.3), race("b", 0.4), race("b", 0.5, memory="default")
        )
    )
    assert best_peer(found, "retained").library == "a"
    assert best_peer(found, "default").median_s == 0.5
    assert best_peer(found[:1], "default") is None


def test_another_way_of_ours_is_no_peer(tmp_path):
    rows = [ours(), race("maml-bench whole curvature", 0.2), race("gymnasium SyncVectorEnv")]
    found = only(read(tmp_path, *rows))
    assert best_peer(found, found[-1].memory).library == "gymnasium SyncVectorEnv"


def test_another_share_of_the_curvature_has_no_ratio(tmp_path):
    tenth = ours(schedule="traced, outer.trust.share=0.1")
    rows = [tenth, race("loop", 0.8, schedule="loop"), race("loop", 0.4, schedule="loop, outer.trust.share=0.1")]
    found = read(tmp_path, *rows, race("gymnasium", 0.5))
    assert [row.ratio_to_ours for row in found] == [1, None, 4, 5]
    assert [row.median_s for row in found] == [0.1, 0.8, 0.4, 0.5]


def test_block_of_a_race(tmp_path):
    wrong = {**race("fast", 0.01), "status": "gradient differs", "reason": "by 0.3"}
    frame = block(only(read(tmp_path, ours(), race(schedule="vmap"), lost(race("c"), "failed", "x"), wrong)))
    assert list(frame["library"]) == ["maml-bench 0.1.0", "torchmeta 1.8.0", "fast 1.8.0", "c 1.8.0"]
    assert list(frame["schedule"]) == ["auto: native", "vmap", "gradient differs", "failed"]
    assert dict(frame.iloc[1]) == {
        **{"library": "torchmeta 1.8.0", "torch": "2.13.0", "memory": "retained", "schedule": "vmap"},
        **{"median ms": "300", "ratio to ours": "3.00 (2.70 to 3.60)", "peak MiB": "512", "gradient error": "2.0e-07"},
        "machine share": "8 %",  # 10.75 GFLOP in 0.3 s are 35.8 of the machine's 430 GFLOP/s
    }


def test_block_of_loaders(tmp_path):
    frame = block(only(read(tmp_path, loader("maml-bench", 1000), loader("torchmeta", 80, peak_memory_bytes=None))))
    assert list(frame["episodes/s"]) == ["1,000", "80.0"]
    assert list(frame["ratio to ours"]) == ["1.00 (1.00 to 1.00)", "12.5 (12.5 to 12.5)"]
    assert list(frame["peak MiB"]) == ["512", "-"]
    assert "median ms" not in frame


def test_who_did_not_race_is_told_once_with_the_reason(tmp_path):
    gone = [lost(race("jax", memory=m), "not expressible", "no double\nbackward") for m in ("default", "retained")]
    rows = only(read(tmp_path, ours(), *gone, lost(race("x", library_version=None), "not built", None)))
    assert absent(rows) == [
        "jax 1.8.0 (default and retained memory): not expressible: no double backward",
        "x (retained memory): not built: no reason given",
    ]


def test_headline_takes_default_memory_as_users_run_it_and_retained_as_equal(tmp_path):
    peers = [race("a", 0.3), race("a", 0.5, memory="default"), race("b", 0.2), race("b", 0.6, memory="default")]
    rows = [ours(), *peers, loader("maml-bench", 1000), loader("torchmeta", 500), lost(race(bench="z"), "failed", "x")]
    steps, nothing, loads = headline(races(read(tmp_path, *rows))).to_dict("records")
    assert steps == {
        "bench": "omniglot-q1",
        "maml-bench": "100 ms",
        "fastest peer as its users run it": "a 1.8.0: 500 ms",
        "ratio": "5.00 (4.50 to 6.00)",
        "fastest peer with equal memory": "b 1.8.0: 200 ms",
        "ratio, equal memory": "2.00 (1.80 to 2.40)",
    }
    assert loads["maml-bench"] == "1,000 episodes/s"
    assert loads["fastest peer as its users run it"] == "torchmeta 1.8.0: 500 episodes/s"
    assert set(nothing.values()) == {"z", "-"}


def test_headline_names_machines_where_there_are_several(tmp_path):
    assert list(headline(races(read(tmp_path, race(), race(machine="ffffffff"))))["machine"]) == [
        "0603ed1a",
        "ffffffff",
    ]


def test_surroundings_in_a_line(tmp_path):
    rows = only(read(tmp_path, ours(dirty=True), race(machine_gflops=410.0, started_at="2026-01-03T00:00:00Z")))
    assert surroundings(rows) == (
        "Machine 0603ed1a, 2 threads, convolutions at 420 GFLOP/s, 10.8 GFLOP of arithmetic a step, 3 rounds, "
        "2026-01-02 to 2026-01-03, commit 0123456789 with changes and 0123456789."
    )
    two = [race(machine_gflops=240.0), race(threads=1, machine_gflops=120.0)]
    assert "2 and 1 threads, convolutions at 240 and 120 GFLOP/s," in surroundings(only(read(tmp_path, *two)))
    bare = dict.fromkeys(("threads", "machine_gflops", "model_gflop", "rounds", "started_at", "commit"))
    assert surroundings(only(read(tmp_path, race(**bare)))) == "Machine 0603ed1a."


def test_growth_by_value_and_line():
    points = [growth(value=4), growth(value=2), growth("shots", 1), growth(value=2, schedule="loop")]
    points += [growth(value=2, schedule=way, library="jax", median_s=s) for way, s in ((None, 0.5), ("map", 0.4))]
    points += [lost(growth(value=4, schedule="loop"), "does not fit", "more than 8 GiB")]
    tables = dict(growth_tables(points))
    assert list(tables) == [
        f"{axis}, machine 0603ed1a: {what}" for axis in ("meta_batch", "shots") for what in ("median ms", "peak MiB")
    ]
    assert tables["meta_batch, machine 0603ed1a: median ms"].to_dict("list") == {
        "meta_batch": ["2", "4"], "jax": ["500", "-"], "jax (map)": ["400", "-"], "loop": ["20.0", "does not fit"],
        "vmap": ["20.0", "40.0"],
    }  # fmt: skip
    assert list(tables["meta_batch, machine 0603ed1a: peak MiB"]["vmap"]) == ["40.0", "80.0"]
    assert list(growth_tables([])) == []


def test_files_say_where_they_come_from_and_survive_odd_text(tmp_path):
    odd = lost(race("my_lib", library_version=None), "failed", "a|b & 50 % of it_all")
    rows = read(tmp_path, ours(), race(library_version="1 | 2"), odd, loader())
    points = [growth(), lost(growth(value=2), "does not fit", "more than 8 GiB")]
    content = {path.name: path.read_text() for path in write_speed_tables(rows, tmp_path / "tables", points)}
    assert list(content) == ["speed.md", "speed.csv", "speed-summary.md", "growth.md", "growth.csv"]
    pages = [text for name, text in content.items() if name.endswith(".md")]
    assert all("generated by `maml-bench report`" in text.splitlines()[0] for text in pages)
    assert list(pd.read_csv(StringIO(content["speed.csv"]))["median_s"].dropna()) == [0.1, 0.3]
    assert "- my_lib (retained memory): failed: a|b & 50 % of it_all" in content["speed.md"]
    assert r"torchmeta 1 \| 2: 300 ms" in content["speed-summary.md"]
    assert list(pd.read_csv(StringIO(content["growth.csv"]))["value"]) == [1, 2]
    assert "- meta_batch 2, vmap: does not fit: more than 8 GiB" in content["growth.md"]


def test_only_what_exists_has_files(tmp_path):
    assert write_speed_tables([], tmp_path) == []
    assert [path.name for path in write_speed_tables([], tmp_path, [growth()])] == ["growth.md", "growth.csv"]
    assert len(write_speed_tables(read(tmp_path, lost(race(), "failed", "x")), tmp_path)) == 3
