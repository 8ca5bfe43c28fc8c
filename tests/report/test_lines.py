"""Lines of a given width."""

from isometry.report.lines import Lines

ROWS = [("layer", "φ", "δ"), ("a-layer-with-a-long-name", "sigmoid", "−7.00"), "… 3 more", ("fc2", "relu", "0")]


def told(width, **how):
    lines = Lines(width, colour=False)
    lines.columns(ROWS, numeric=(2,), **how)
    return lines.text().splitlines()


def test_cells_stand_below_each_other_and_numbers_to_the_right():
    assert told(60) == [
        "  layer                     φ            δ",
        "  a-layer-with-a-long-name  sigmoid  −7.00",
        "  … 3 more",
        "  fc2                       relu         0",
    ]


def test_a_long_name_gives_way_where_no_column_can_be_spared():
    assert told(30)[1] == "  a-lay…g-name  sigmoid  −7.00"


def test_columns_that_can_be_spared_go_first():
    assert told(36, spare=(1,))[1] == "  a-layer-with-a-long-name  −7.00"
    assert told(60, spare=(1,)) == told(60)
