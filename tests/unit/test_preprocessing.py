"""Steps on a picture's way into a net: what they do, and how each is left out or weakened."""

import pytest
from PIL import Image, ImageFilter

import influent as inf
from influent.preprocessing import name_of
from influent.suspects import changes

SLOPE = Image.linear_gradient("L").convert("RGB").resize((40, 30))


def shrunk(picture):
    return picture.resize((10, 10))


class Resize:
    """As torchvision's: a size, and a call."""

    def __init__(self, size):
        self.size = size

    def __call__(self, picture):
        side = self.size if isinstance(self.size, int) else self.size[0]
        return picture.resize((side, side))


class CenterCrop(Resize):
    def __call__(self, picture):
        left, top = (picture.width - self.size[1]) // 2, (picture.height - self.size[0]) // 2
        return picture.crop((left, top, left + self.size[1], top + self.size[0]))


def way(*steps):
    return inf.PixelTransform((0.0,) * 3, (1.0,) * 3, see=inf.Compose(steps))


def test_steps_are_done_in_their_order():
    whole = inf.Compose((shrunk, inf.Blur(2.0), inf.Grey()))
    expected = SLOPE.resize((10, 10)).filter(ImageFilter.GaussianBlur(2.0)).convert("L").convert("RGB")
    assert whole(SLOPE).tobytes() == expected.tobytes() and way(shrunk)(SLOPE).shape == (1, 3, 10, 10)


def test_steps_are_values_and_have_names():
    assert inf.Compose([inf.Blur(1.0)]) == inf.Compose((inf.Blur(1.0),)) and hash(inf.Blur(1.0)) == hash(inf.Blur(1.0))
    assert [name_of(s) for s in (inf.Blur(1.0), inf.Grey(), shrunk)] == ["Blur(std=1.0)", "Grey()", "shrunk"]


def test_each_step_is_left_out_or_weakened():
    made = changes(way(Resize(40), shrunk, inf.Blur(2.0), inf.Grey(), CenterCrop((8, 6))))
    assert [(c.step if "object" not in c.step else "own", c.change) for c in made] == [
        ("own", "to twice that size"), ("shrunk", "left out"), ("Blur(std=2.0)", "left out"),
        ("Blur(std=2.0)", "half as wide"), ("Grey()", "left out"), ("own", "the whole picture, squeezed"),
    ]  # fmt: skip
    steps = [c.transform.see.steps for c in made]
    assert steps[0][0].size == 80 and [len(s) for s in steps] == [5, 4, 4, 5, 4, 5]
    assert steps[3][2] == inf.Blur(1.0) and steps[2][1:3] == (shrunk, inf.Grey())
    # What was cropped has its size all the same.
    assert made[-1].transform(SLOPE).shape == (1, 3, 8, 6)


def test_resize_and_crop_of_a_transform_are_steps_too():
    made = changes(inf.PixelTransform((0.0,) * 3, (1.0,) * 3, resize=30, crop=20))
    assert [(c.step, c.change) for c in made] == [
        ("resize to 30", "to twice that size"), ("crop of 20", "the whole picture, squeezed")
    ]  # fmt: skip
    assert all(c.transform(SLOPE).shape == (1, 3, 20, 20) for c in made)
    assert made[0].transform.resize == 60


@pytest.mark.parametrize("transform", [None, shrunk, inf.PixelTransform((0.0,) * 3, (1.0,) * 3, see=shrunk)])
def test_a_way_that_is_one_function_has_no_steps(transform):
    assert changes(transform) == []


NO_STEP = (
    "Compose((3, ...)): 3 is no function. A step goes from an RGB PIL picture to another: "
    "Compose((Blur(2.0), lambda picture: picture.resize((224, 224))))."
)


@pytest.mark.parametrize(("ask", "lesson"), [
    (lambda: inf.Blur(0), "Blur(0): give a width in pixels above 0, Blur(2.0)."),
    (lambda: inf.Blur("2"), "Blur('2'): give a width in pixels above 0, Blur(2.0)."),
    (lambda: inf.Compose(inf.Grey()), "Compose(Grey()): give several steps in brackets, Compose((Grey(),))."),
    (lambda: inf.Compose((3,)), NO_STEP),
])  # fmt: skip
def test_what_is_no_step_is_a_lesson(ask, lesson):
    with pytest.raises(inf.InputError) as error:
        ask()
    assert str(error.value) == lesson
