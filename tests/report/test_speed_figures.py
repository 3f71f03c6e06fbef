"""Figures of speed: drawn without a warning, equal when made again, and true to the rows."""

import pytest
from matplotlib.text import Text
from speed_factory import curves, growth, loader, lost, ours, race, races, save

from maml_bench.report.figures import discover, write_speed_figures
from maml_bench.report.figures.speed_loaders import draw_speed as draw_loaders
from maml_bench.report.figures.speed_ratios import draw_speed as draw_ratios
from maml_bench.report.speed.rows import load


def read(results, *rows):
    save(results, *rows)
    return load(results)


def test_every_machine_has_its_figures_and_they_are_equal_when_drawn_again(tmp_path):
    rows = read(tmp_path, *races(), *curves(), *races("ffffffff"))
    first, second = (write_speed_figures(rows, tmp_path / folder) for folder in ("a", "b"))
    stems = [f"{name}-0603ed1a" for name in ("speed-loaders", "speed-ratios")]
    stems += [f"{name}-ffffffff" for name in ("speed-loaders", "speed-ratios")]
    assert [path.name for path in first] == [stem + suffix for stem in stems for suffix in (".pdf", ".png")]
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True] * len(first)
    assert list(discover("draw_speed")) == ["speed-loaders", "speed-ratios"]


def test_figures_without_their_material_are_left_out(tmp_path):
    rows = read(tmp_path, ours(), lost(race(), "failed", "x"))
    assert [draw(rows) for draw in discover("draw_speed").values()] == [None] * 2
    assert write_speed_figures(read(tmp_path, growth()), tmp_path) == {}
    assert write_speed_figures([], tmp_path) == {}


def test_bars_reach_from_one_to_the_ratio_with_whiskers_over_the_rounds(tmp_path):
    rows = [ours(), race("a", 0.3), race("a", 0.08, memory="default"), lost(race("b"), "not expressible", "x")]
    figure = draw_ratios(read(tmp_path, *rows))
    (axes,) = figure.axes
    assert [(bar.get_x(), round(bar.get_width(), 6)) for bar in axes.patches] == [(1, -0.2), (1, 2.0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b 1.8.0", "a 1.8.0"]
    assert [text.get_text() for text in axes.texts] == ["0.800", "3.00", "not expressible"]
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7
    whiskers = [segment[:, 0].tolist() for bars in axes.collections for segment in bars.get_segments()]
    assert whiskers == [pytest.approx([0.72, 0.96]), pytest.approx([2.7, 3.6])]
    assert axes.get_xscale() == "linear"


def test_a_time_that_cannot_be_compared_is_left_out(tmp_path):
    tenth = ours(schedule="traced, outer.trust.share=0.1")
    whole = race("loop", 0.8, schedule="loop")
    (axes,) = draw_ratios(read(tmp_path, tenth, whole, race("gymnasium", 0.5))).axes
    assert [round(bar.get_width(), 6) for bar in axes.patches] == [4.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gymnasium 1.8.0"]
    assert draw_ratios(read(tmp_path, tenth, whole)) is None


def test_wide_ratios_are_logarithmic_and_loaders_have_a_figure_of_their_own(tmp_path):
    rows = read(tmp_path, ours(), race("a", 0.3), loader(episodes_per_s=50))
    assert draw_ratios(rows).axes[0].get_xscale() == "linear"
    figure = draw_loaders(rows)
    assert figure.axes[0].get_xscale() == "log"
    assert [axes.get_title() for axes in figure.axes] == ["loader-omniglot-5w1s"]


def test_names_tell_schedules_and_torch_apart_only_where_there_are_several(tmp_path):
    rows = [race("jax", schedule=s) for s in ("vmap", "lax.map")] + [race("a", torch=t) for t in ("1.9", "2.0")]
    figure = draw_ratios(read(tmp_path, *rows, race("b", schedule="loop over tasks")))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[::-1] == [
        *("a 1.8.0, torch 1.9", "a 1.8.0, torch 2.0", "b 1.8.0", "jax 1.8.0\nlax.map", "jax 1.8.0\nvmap"),
    ]
