"""`dataset report --look`: what the pictures show, compared by the embedded tower."""

from contextlib import nullcontext

from studio import console


def test_report_looks_at_the_pictures_when_asked(own, monkeypatch):
    told = []
    with monkeypatch.context() as here:
        here.setattr(console, "progress", lambda label, unit="": nullcontext(lambda *done: told.append(done)))
        own.here("dataset", "new", "icons", "--demo", "icons").well()
    assert len(told) > 40 and told[-1][0] == told[-1][1], "a demo tells how far it is, as all imports do"
    plain = own.here("dataset", "report", "icons", "--json").well().json
    assert "outliers" not in plain
    looked = own.here("dataset", "report", "icons", "--look", "--json").well().json
    assert {"lookalikes", "outliers", "held_out_distance"} <= set(looked) and set(plain) <= set(looked)
    assert looked["held_out_distance"] < 0.2  # one domain on both sides
    assert own.here("dataset", "report", "nothing", "--look").complaint()
