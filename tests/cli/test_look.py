"""`dataset report --look`: what the pictures show, compared by the embedded tower."""


def test_report_looks_at_the_pictures_when_asked(own):
    own.here("dataset", "new", "icons", "--demo", "icons").well()
    plain = own.here("dataset", "report", "icons", "--json").well().json
    assert "outliers" not in plain
    looked = own.here("dataset", "report", "icons", "--look", "--json").well().json
    assert {"lookalikes", "outliers", "held_out_distance"} <= set(looked) and set(plain) <= set(looked)
    assert looked["held_out_distance"] < 0.2  # one domain on both sides
    assert own.here("dataset", "report", "nothing", "--look").complaint()
