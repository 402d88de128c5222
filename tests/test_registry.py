"""What is found by name is whole: modules have the names of their interface, and what others look up for them is there."""

import pytest

from studio import registry
from studio.dataset.captioners.base import Captioner
from studio.dataset.doctor.mends import MENDS
from studio.dataset.doctor.table import CHECKS
from studio.export.formats import LAYOUTS
from studio.families.base import Family
from studio.methods.base import Method
from studio.recipes import list_recipes, load_recipe
from tests.fixtures.families import FAMILIES
from tests.fixtures.more_captioners import MORE
from tests.fixtures.tiny_captioners import MAKERS

MAY_LACK = {"recordable", "in_half", "combine", "refuses_strength", "encode_negative", "checkpoint"}  # as the interfaces say
ALL = [
    *((Family, registry.family, key) for key in registry.FAMILIES),
    *((Method, registry.method, key) for key in registry.METHODS),
    *((Captioner, registry.captioner, key) for key in registry.CAPTIONERS),
]


@pytest.mark.parametrize(("interface", "find", "key"), ALL, ids=lambda each: each if isinstance(each, str) else "")
def test_a_module_has_the_names_of_its_interface(interface, find, key):
    wanted = {*interface.__annotations__, *(name for name in vars(interface) if not name.startswith("_"))}
    assert wanted and not {name for name in wanted - MAY_LACK if not hasattr(find(key), name)}


def test_families_and_captioners_have_a_tiny_model():
    assert FAMILIES.keys() == registry.FAMILIES.keys()
    folders = {key for key in registry.CAPTIONERS if registry.captioner(key).FACTS.needs_folder}
    assert folders <= {*MAKERS, *MORE}


def test_every_layout_says_who_reads_it():
    cards = [registry.family(key).card for key in registry.FAMILIES]
    named = {layout for key in registry.METHODS for card in cards for layout in registry.method(key).layouts(card)}
    assert named == LAYOUTS.keys()


def test_every_check_names_mends_that_there_are():
    assert {mend for check in CHECKS.values() for mend in check.mends} == MENDS.keys()


def test_every_method_is_in_a_recipe():
    assert {method["kind"] for name in list_recipes() for method in load_recipe(name)["methods"]} == registry.METHODS.keys()
