"""A subject's words: where token and noun go in captions, and what is refused."""

import pytest

from studio import subject
from studio.errors import StudioError
from studio.spec import PriorSpec


def adopted(noun="dog", token="", about=None, is_subject=True, **more):
    return subject.adopt(PriorSpec(class_noun=noun, token=token, **more), about or {}, is_subject)


@pytest.mark.parametrize(
    ("caption", "ours", "of_the_class"),
    [
        ("", "sks dog", "dog"),
        ("a dog on a sofa", "a sks dog on a sofa", "a dog on a sofa"),
        ("A Dog, and a dog", "A sks dog, and a dog", "A dog, and a dog"),
        ("hotdogs on a plate", "sks dog, hotdogs on a plate", "dog, hotdogs on a plate"),
        ("on a sofa", "sks dog, on a sofa", "dog, on a sofa"),
        ("sks dog in snow", "sks dog in snow", "dog in snow"),
        ("sks, a dog in snow", "a sks dog in snow", "a dog in snow"),
    ],
)
def test_a_caption_gets_token_and_noun_once(caption, ours, of_the_class):
    prior = adopted()
    assert subject.reword(prior, caption) == ours and subject.reword(prior, ours) == ours
    assert subject.as_class(prior, caption) == of_the_class


def test_the_token_is_typed_or_the_trigger_word_or_a_rare_one():
    assert adopted().token == "sks"
    assert adopted(about={"trigger": "rex"}).token == "rex"
    assert adopted(token="zwx", about={"trigger": "rex"}).token == "zwx"
    assert adopted(noun=" coffee   mug ").class_noun == "coffee mug" and adopted(noun="coffee mug").prompt == "coffee mug"
    assert adopted(prompt="a photo of a dog").prompt == "a photo of a dog"


def test_without_a_subject_captions_stay():
    prior = adopted(noun="", is_subject=False)
    assert subject.reword(prior, "a dog") == "a dog" and subject.phrase(prior) == "" and prior.token == ""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"noun": ""}, "prior.class_noun: say in one to three words"),
        ({"noun": "  "}, "prior.class_noun: say"),
        ({"noun": "", "is_subject": False, "weight": 1.0}, "prior.class_noun: say"),
        ({"noun": "a very long and winding description of my dear dog"}, "one to three words"),
        ({"noun": "123"}, "one to three words"),
        ({"token": "two words"}, "prior.token"),
        ({"token": "Dog"}, "is the class noun itself"),
        ({"token": "x" * 50}, "prior.token"),
    ],
)
def test_what_makes_no_subject_is_refused(settings, reason):
    with pytest.raises(StudioError, match=reason):
        adopted(**settings)
