"""What a dataset says of itself is in its history: the kind of pictures, the trigger word and the class noun can be put back."""

import pytest

from studio.dataset import about
from studio.dataset.removal import list_history
from studio.dataset.rows import open_dataset
from studio.dataset.wording import undo_change

SETS = {"domain": (about.set_domain, "satellite", "icons"), "trigger": (about.set_trigger, "one", "two")}


@pytest.mark.parametrize("key", SETS)
def test_each_change_is_in_the_history_and_is_undone_unless_changed_since(workspace, dataset, key):
    change, first, second = SETS[key]

    def now():
        return open_dataset(workspace, dataset.name).about.get(key, "")

    change(workspace, dataset.name, first)
    change(workspace, dataset.name, first)  # nothing new
    change(workspace, dataset.name, second)
    newest, oldest = list_history(open_dataset(workspace, dataset.name))
    assert "Set the " in newest["text"] and now() == second
    assert "changed since and stays" in undo_change(workspace, dataset.name, oldest["undo"])["text"] and now() == second
    assert "Put back the " in undo_change(workspace, dataset.name, newest["undo"])["text"] and now() == first
    assert list_history(open_dataset(workspace, dataset.name)) == []
