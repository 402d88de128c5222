"""Augmentation by the kind of pictures: where turning or mirroring would change what they say, it is not done unless asked."""

import pytest

from studio.dataset.about import set_domain
from studio.dataset.intake import create_demo, list_demos
from studio.dataset.rows import open_dataset
from studio.domains import DOMAINS, contradicted
from studio.errors import StudioError
from studio.models.bases import find_base
from studio.recipes import Choice, resolve
from studio.spec import DataSpec
from studio.store import Workspace, read_json
from tests.fixtures.runs import dataset

AUGMENTATION = {"flip", "turns", "colour"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    dataset(workspace, tmp_path_factory.mktemp("pictures"), 6)
    return workspace


def data_of(workspace, domain, *settings):
    set_domain(workspace, "shapes", domain)
    return resolve(Choice(open_dataset(workspace, "shapes"), find_base("starter"), settings=list(settings))).data


@pytest.mark.parametrize("domain", ["", *DOMAINS])
def test_the_kind_decides_unless_the_person_does(workspace, domain):
    wanted = {name: field.default for name, field in DataSpec.model_fields.items() if name in AUGMENTATION}
    wanted |= DOMAINS[domain].data if domain else {}
    assert data_of(workspace, domain).model_dump(include=AUGMENTATION) == wanted
    asked = data_of(workspace, domain, "data.flip=true", "data.turns=true", "data.colour=0.2")
    assert (asked.flip, asked.turns, asked.colour) == (True, True, 0.2)
    left = data_of(workspace, domain, "data.flip=false", "data.turns=false", "data.colour=0")
    assert (left.flip, left.turns, left.colour) == (False, False, 0)


def test_where_orientation_has_a_meaning_nothing_is_turned_or_mirrored():
    for domain in ("medical", "map", "text", "icons", "subject"):
        assert not DOMAINS[domain].data, domain
    assert DOMAINS["satellite"].data == {"flip": True, "turns": True} and not DOMAINS["photographs"].data.get("turns")
    for domain in DOMAINS.values():
        DataSpec.model_validate(domain.data)
        assert domain.title and domain.why and "\n" not in domain.why


def test_demos_carry_theirs(tmp_path):
    place = Workspace.at(tmp_path)
    from studio.dataset.intake import DEMOS

    assert {name: read_json(DEMOS / name / "demo.json")["domain"] for name in list_demos()} == {
        "brain-mri": "medical", "icons": "icons", "satellite": "map"
    }  # fmt: skip
    made = create_demo(place, "icons")
    assert made.about["domain"] == "icons" and not resolve(Choice(made, find_base("starter"))).data.flip


def test_an_unknown_kind_is_refused_and_the_kind_can_be_taken_back(workspace):
    with pytest.raises(StudioError, match="no such kind"):
        set_domain(workspace, "shapes", "cats")
    set_domain(workspace, "shapes", "satellite")
    assert open_dataset(workspace, "shapes").about["domain"] == "satellite"
    set_domain(workspace, "shapes", "")
    assert "domain" not in open_dataset(workspace, "shapes").about


@pytest.mark.parametrize(
    ("captions", "flip", "turns", "told"),
    [
        (["the left hand", "a bright cat", "upright"], True, False, "1 caption names a side (left), which is not true of mirrored"),
        (["the left hand", "the upper brain", "RIGHT lung"], True, True, "3 captions name a side (left, right, upper)"),
        (["the upper brain", "leftover copyright"], True, False, ""),
        (["the left hand"], False, False, ""),
        (["turned counter-clockwise"], True, False, "(counter-clockwise)"),
        ([], True, True, ""),
    ],
)
def test_captions_that_mirroring_or_turning_would_make_untrue_are_told(captions, flip, turns, told):
    found = contradicted(captions, flip, turns)
    assert (told in found and found) if told else found == ""
