"""Pictures, boxes, outlines and masks that follow the same window, checked by what is seen of a drawn rectangle."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_masks
from torchvision.ops import masks_to_boxes
from torchvision.transforms.v2 import functional as tv

from resnets.data.transforms import Augmentation, jitter
from resnets.data.views import joined, painted, training_windows, view
from resnets.data.windows import Rectangle, Window, cut, on_pictures, tiles, whole
from resnets.types import Objects, Preprocessing

SEEN = Preprocessing((96, 128), 3, (0.5, 0.25, 0.0), (1.0, 1.0, 1.0), fit="contain")


def picture_with(size: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[torch.Tensor, Objects]:
    """A black picture with a white rectangle, and that rectangle as an object with an outline."""
    pixels = torch.zeros(3, *size, dtype=torch.uint8)
    left, top, right, bottom = box
    pixels[:, top:bottom, left:right] = 255
    outline = torch.tensor([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=torch.float32)
    objects = Objects(
        size, torch.tensor([box], dtype=torch.float32), torch.tensor([0]), torch.tensor([False]), ((outline,),)
    )
    return pixels, objects


windows = st.builds(
    Window,
    st.builds(Rectangle, st.integers(0, 40), st.integers(0, 40), st.integers(40, 100), st.integers(40, 120)),
    st.builds(Rectangle, st.integers(0, 16), st.integers(0, 28), st.integers(20, 80), st.integers(20, 100)),
    st.booleans(),
    st.booleans(),
)


@given(windows)
@settings(max_examples=25, deadline=None)
def test_what_is_seen_of_a_rectangle_is_where_its_box_and_mask_are(window):
    pixels, objects = picture_with((140, 160), (50, 45, 70, 75))
    canvas = torch.zeros(3, 96, 128, dtype=torch.uint8)
    window.paint(canvas, pixels, "bilinear")
    moved = window.objects(objects, (96, 128))
    seen = canvas[0] > 127
    if not len(moved) or not seen.any():
        return
    torch.testing.assert_close(
        masks_to_boxes(seen[None])[0] + torch.tensor([0, 0, 1, 1]), moved.boxes[0], atol=1.5, rtol=0
    )
    mask = moved.masks()[0].bool()
    assert (mask ^ seen).sum() <= 3 * (moved.boxes[0, 2:] - moved.boxes[0, :2]).sum()  # a line along the edges


@given(windows, st.lists(st.floats(0, 120), min_size=2, max_size=2))
@settings(max_examples=25, deadline=None)
def test_points_come_back(window, point):
    there = window.points(torch.tensor(point))
    torch.testing.assert_close(window.points_back(there), torch.tensor(point), atol=1e-3, rtol=1e-5)


def test_all_of_a_picture_is_contained_and_the_rest_is_the_mean():
    pixels = torch.randint(0, 256, (3, 50, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = view(pixels, SEEN)
    resized = tv.resize(pixels, [32, 128], antialias=True)
    assert torch.equal(seen[:, :32], resized)
    assert seen[:, 32:].flatten(1).unique(dim=1).flatten().tolist() == [128, 64, 0]
    window = whole((50, 200), SEEN)
    boxes = torch.tensor([[0.0, 0.0, 200.0, 50.0]])
    assert window.boxes(boxes).tolist() == [[0, 0, 128, 32]]


def test_detections_return_to_their_pictures():
    found = torch.tensor(
        [[[16.0, 8.0, 64.0, 32.0, 0.9, 1.0], [0.0] * 6], [[0.0, 0.0, 128.0, 96.0, 0.5, 0.0], [0.0] * 6]]
    )
    back = on_pictures(found, [(50, 200), (192, 128)], SEEN)
    assert back[0, 0].tolist() == pytest.approx([25, 12.5, 100, 50, 0.9, 1])
    assert back[1, 0].tolist() == pytest.approx([0, 0, 128, 192, 0.5, 0])  # what stands beside a picture is cut off
    assert found[0, 0, 0] == 16


@pytest.mark.parametrize(
    "augmentation", [Augmentation(zoom=(0.5, 2.0), flip=True, flip_vertical=True), Augmentation(mosaic=1.0)]
)
def test_training_sees_each_object_where_it_says(augmentation):
    sizes = [(60, 80), (100, 100), (48, 160), (96, 128)]
    pairs = [picture_with(size, (20, 20, 44, 40)) for size in sizes]
    counted = 0
    for epoch in range(12):
        windows = training_windows([objects for _, objects in pairs], SEEN, augmentation, 7, epoch, 2)
        assert windows == training_windows([objects for _, objects in pairs], SEEN, augmentation, 7, epoch, 2)
        image = painted([(pairs[number][0], window) for number, window in windows], SEEN)
        objects = joined([(pairs[number][1], window) for number, window in windows], SEEN)
        assert image.shape == (3, 96, 128)
        for left, top, right, bottom in objects.boxes.round().int().tolist():
            assert 0 <= left < right <= 128
            assert 0 <= top < bottom <= 96
            inside = image[:, top:bottom, left:right]
            assert inside.float().mean() > 200
            counted += 1
    assert counted >= 10
    assert len({str(training_windows([o for _, o in pairs], SEEN, augmentation, 7, e, 2)) for e in range(5)}) == 5


def test_without_augmentation_training_sees_what_evaluation_sees():
    pixels, objects = picture_with((60, 90), (1, 2, 30, 40))
    [(number, window)] = training_windows([objects], SEEN, Augmentation(), 0, 3, 0)
    assert number == 0
    assert torch.equal(painted([(pixels, window)], SEEN), view(pixels, SEEN))


def test_what_is_hardly_seen_is_left_out():
    _, objects = picture_with((100, 100), (0, 0, 40, 40))
    assert len(Window(Rectangle(0, 30, 60, 60), Rectangle(0, 0, 60, 60)).objects(objects, (60, 60))) == 1
    assert len(Window(Rectangle(0, 31, 60, 60), Rectangle(0, 0, 60, 60)).objects(objects, (60, 60))) == 0


def test_a_cut_fills_its_room_where_the_picture_is_large_enough():
    room = Rectangle(10, 20, 50, 60)
    assert cut((500, 500), room, 0.5, 0.0, 1.0 - 1e-7) == Window(Rectangle(0, 380, 100, 120), room)
    small = cut((20, 20), room, 1.0, 1.0 - 1e-7, 0.0)
    assert (small.part, small.place) == (Rectangle(0, 0, 20, 20), Rectangle(40, 20, 20, 20))


@pytest.mark.parametrize("size", [(96, 128), (97, 128), (300, 500), (40, 1000)])
def test_tiles_cover_a_picture(size):
    covered = torch.zeros(size, dtype=torch.bool)
    for window in tiles(size, SEEN):
        part = window.part
        assert (part.height, part.width) == (window.place.height, window.place.width)
        covered[part.top : part.top + part.height, part.left : part.left + part.width] = True
    assert covered.all()


def test_jitter_changes_brightness_contrast_and_saturation():
    images = torch.tensor([[[100, 140]], [[60, 100]], [[20, 60]]], dtype=torch.uint8).expand(3, 3, 1, 2).contiguous()
    changes = torch.tensor([[0.5, 0.0, 0.0], [0.0, -0.5, 0.0], [0.0, 0.0, -0.999]])
    brighter, flatter, greyer = jitter(images, changes)
    assert brighter.flatten().tolist() == [150, 210, 90, 150, 30, 90]
    assert flatter.flatten().tolist() == [90, 110, 70, 90, 50, 70]
    assert greyer.flatten().tolist() == [60, 100, 60, 100, 60, 100]
    assert torch.equal(jitter(images, torch.zeros(3, 3)), images)


def test_a_mosaic_of_pictures_with_and_without_outlines_keeps_them_apart():
    _, outlined = picture_with((48, 64), (10, 10, 30, 30))
    boxes = torch.tensor([[5.0, 5.0, 20.0, 20.0], [30.0, 8.0, 50.0, 40.0]])
    plain = Objects((48, 64), boxes, torch.tensor([1, 2]), torch.tensor([False, False]))
    rooms = [Window(Rectangle(0, 0, 48, 64), Rectangle(0, left, 48, 64)) for left in (0, 64)]
    both = joined([(plain, rooms[0]), (outlined, rooms[1])], SEEN)
    assert both.outlined.tolist() == [False, False, True]
    last = both.subset(torch.tensor([2]))
    assert last.masks()[0].nonzero().amin(0).tolist() == [10, 74]
    assert joined([(plain, rooms[0]), (plain, rooms[1])], SEEN).outlines == ()


@pytest.mark.parametrize("radius", [5, 10, 40])
@pytest.mark.parametrize("shift", [0.0, 0.3])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_outlines_are_drawn_as_pycocotools_does(radius, shift):
    angles = torch.arange(0, 2 * math.pi, 0.05)
    outline = 48 + shift + radius * torch.stack((angles.cos(), angles.sin()), 1)
    box = torch.cat((outline.amin(0), outline.amax(0)))[None]
    ours = Objects((96, 128), box, torch.tensor([0]), torch.tensor([False]), ((outline,),)).masks()[0].numpy()
    theirs = coco_masks.decode(coco_masks.frPyObjects([outline.flatten().tolist()], 96, 128))[..., 0]
    assert ours.sum() == pytest.approx(math.pi * radius**2, rel=0.05)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 1 - 0.15 / radius


def test_outlines_that_cross_themselves_or_begin_outside_are_drawn():
    bow = torch.tensor([(-4.0, 0.0), (8.0, 8.0), (8.0, 0.0), (-4.0, 8.0)])  # two triangles that meet at (2, 4)
    objects = Objects((8, 10), torch.tensor([[-4.0, 0, 8, 8]]), torch.tensor([0]), torch.tensor([False]), ((bow,),))
    x, y = torch.meshgrid(torch.arange(10) + 0.5, torch.arange(8) + 0.5, indexing="xy")
    inside = ((y - 4).abs() < (x - 2).abs() * 2 / 3) & (x < 8)
    assert torch.equal(objects.masks()[0].bool(), inside)
    beyond = replace(objects, boxes=torch.tensor([[-9.0, -9.0, -1.0, -1.0]]), outlines=())
    assert not beyond.masks().any()
