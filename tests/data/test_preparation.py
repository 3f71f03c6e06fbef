"""Pictures of every kind are brought to the same bytes, or refused by a sentence that names them."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maml_bench.data.preparation import Preparation, quiet
from maml_bench.errors import MamlBenchError

WIDTH, HEIGHT = 40, 60


def gradient() -> np.ndarray:
    """uint8 ``[60, 40, 3]``: red grows downwards and green to the right; blue is their mean."""
    down, right = np.meshgrid(np.arange(HEIGHT) * 4, np.arange(WIDTH) * 6, indexing="ij")
    return np.stack([down, right, (down + right) // 2], axis=-1).astype(np.uint8)


def saved(folder: Path, name: str, image: Image.Image, **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def notes(path: Path | Image.Image, **options: object) -> tuple[str, ...]:
    with quiet():
        return Preparation(**options).prepared(path).notes  # type: ignore[arg-type]


def test_one_picture_has_the_same_bytes_in_every_form(tmp_path):
    pixels, how = gradient(), Preparation(20)
    expected = how.prepare(saved(tmp_path, "a.png", Image.fromarray(pixels)))
    assert expected.dtype == torch.uint8
    assert expected.shape == (3, 20, 20)
    channels_first = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [
        *(str(tmp_path / "a.png"), Image.fromarray(pixels), pixels, pixels / 255, (pixels / 255).astype(np.float32)),
        *(pixels.astype(np.uint16) * 257, channels_first, channels_first / 255, channels_first.double() / 255),
        *(saved(tmp_path, f"a.{kind}", Image.fromarray(pixels)) for kind in ("bmp", "tiff")),
        saved(tmp_path, "a.webp", Image.fromarray(pixels), lossless=True),
    ]
    for form in forms:
        assert torch.equal(how.prepare(form), expected), type(form)


def test_a_picture_of_the_right_size_is_not_changed():
    pixels = gradient()[:40]
    assert torch.equal(Preparation(40).prepare(pixels), torch.from_numpy(pixels).permute(2, 0, 1))


def test_crop_stretch_and_pad_do_what_they_say():
    """A picture twice as high as it is wide: red above, green in the middle half, blue below."""
    picture = np.zeros((80, 40, 3), dtype=np.uint8)
    picture[:20, :, 0] = picture[20:60, :, 1] = picture[60:, :, 2] = 255
    crop, stretch, pad = (Preparation(40, resize=resize).prepare(picture) for resize in ("crop", "stretch", "pad"))
    assert crop[1].min() == 255
    assert crop[[0, 2]].max() == 0
    assert [int(stretch[channel, :, 20].argmax()) // 10 for channel in range(3)] == [0, 1, 3]
    assert pad[:, :, :10].max() == pad[:, :, 30:].max() == 0
    assert int(pad[:, :, 10:30].max(0).values.min()) > 120


def test_scaling_averages_over_the_pixels():
    """Lines of one pixel become grey: without antialiasing they would be black or white."""
    lines = np.zeros((200, 200), dtype=np.uint8)
    lines[::2] = 255
    assert 110 < Preparation(20, "grey").prepare(lines)[0, 2:-2].float().mean() < 145


def test_grey_and_rgb_pictures_become_what_is_asked():
    grey = gradient()[..., 0]
    assert torch.equal(Preparation(20).prepare(grey), Preparation(20, "grey").prepare(grey).expand(3, -1, -1))
    luma = Preparation(40, "grey").prepare(np.full((40, 40, 3), (200, 100, 50), dtype=np.uint8))
    assert set(luma.unique().tolist()) == {round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)}


def test_sixteen_bits_are_scaled_to_eight_and_told(tmp_path):
    ramp = np.linspace(0, 65535, 1600).astype(np.uint16).reshape(40, 40)
    for name in ("a.png", "a.tiff"):
        path = saved(tmp_path, name, Image.fromarray(ramp))
        found = Preparation(40, "grey").prepare(path)[0].numpy()
        assert np.abs(found - ramp / 257).max() <= 0.5
        assert notes(path) == ("scaled to 8 bits",)


def test_transparency_is_composited_on_white_and_told(tmp_path):
    black = Image.new("RGBA", (30, 30), (0, 0, 0, 255))
    assert notes(black) == ()
    for y in range(30):
        for x in range(15):
            black.putpixel((x, y), (0, 0, 0, 0))
    palette = Image.new("P", (30, 30))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.paste(1, (0, 0, 15, 30))
    path = saved(tmp_path, "p.png", palette, transparency=1)
    for picture in (black, saved(tmp_path, "a.png", black), black.convert("LA"), path):
        found = Preparation(30).prepare(picture)
        assert found[:, :, :15].min() == 255, picture
        assert found[:, :, 15:].max() == 0
        assert notes(picture) == ("composited on white",)


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "LAB", "HSV", "1", "RGBX", "LA", "I", "F"])
def test_every_mode_of_pil_becomes_rgb_and_grey(mode):
    picture = Image.new(mode, (9, 7))
    for colour, channels in (("rgb", 3), ("grey", 1)):
        assert Preparation(5, colour).prepare(picture).shape == (channels, 5, 5)


def test_cmyk_and_palette_files_have_their_colours(tmp_path):
    picture = Image.fromarray(gradient())
    expected = Preparation(20).prepare(picture)
    cmyk = Preparation(20).prepare(saved(tmp_path, "c.jpg", picture.convert("CMYK"), quality=95))
    palette = Preparation(20).prepare(saved(tmp_path, "p.png", picture.quantize(256)))
    assert (cmyk.int() - expected).abs().float().mean() < 8
    assert (palette.int() - expected).abs().float().mean() < 8


def test_exif_rotation_is_applied_and_told(tmp_path):
    upright = Image.fromarray(gradient())
    exif = Image.Exif()
    exif[0x0112] = 6  # the picture lies on its side: to be turned by 90 degrees clockwise
    path = saved(tmp_path, "a.png", upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert torch.equal(Preparation(20).prepare(path), Preparation(20).prepare(upright))
    assert notes(path) == ("turned as their EXIF data say",)


def bomb(side: int) -> bytes:
    """A PNG file of some bytes that claims ``side x side`` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def whole_jpeg(folder: Path) -> bytes:
    return saved(folder, "whole.jpg", Image.fromarray(gradient())).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.png", lambda folder: b"", "is an empty file"),
        ("text.jpg", lambda folder: b"no picture", "is not a JPEG, PNG, WebP, TIFF or BMP image that can be read"),
        (
            "animation.png",
            lambda folder: saved(folder, "x.gif", Image.new("P", (4, 4))).read_bytes(),
            "is not a JPEG, ",
        ),
        ("short.jpg", lambda folder: whole_jpeg(folder)[:-60], "cannot be decoded: image file is truncated"),
        ("shorter.jpg", lambda folder: whole_jpeg(folder)[:30], "shorter.jpg "),
        ("broken.png", lambda folder: bomb(50), "cannot be decoded: "),
        ("large.png", lambda folder: bomb(12_000), "has more than 89,478,485 pixels, so it is not decoded"),
        ("larger.png", lambda folder: bomb(17_500), "has more than 89,478,485 pixels, so it is not decoded"),
        ("missing.png", None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_whole_picture_is_refused_by_name(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content(tmp_path))
    with pytest.raises(MamlBenchError) as caught:
        Preparation().prepare(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_end_of_a_file_is_a_picture_or_one_sentence(tmp_path):
    """Files that were cut anywhere: hardly one decoder has one kind of exception for that."""
    for kind in ("jpg", "png", "webp", "tiff", "bmp"):
        whole = saved(tmp_path, f"a.{kind}", Image.fromarray(gradient())).read_bytes()
        for length in range(1, len(whole), max(1, len(whole) // 40)):
            path = tmp_path / f"cut.{kind}"
            path.write_bytes(whole[:length])
            with suppress(MamlBenchError):
                assert Preparation(8).prepare(path).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"is an array of the shape \[4, 4, 5\]"),
        (np.zeros(4, np.uint8), r"is an array of the shape \[4\]"),
        (np.zeros((0, 4), np.uint8), r"is an array of the shape \[0, 4\]"),
        (np.full((4, 4), 2.0), "has values from 2 to 2, but floats must be 0 to 1"),
        (np.full((4, 4), np.nan), "has values from nan to nan"),
        (np.zeros((4, 4), np.int64), "is an array of int64, but must be one of uint8"),
        (torch.zeros(84, 84, 3), r"is an array of the shape \[84, 84, 3\]"),
        (Image.fromarray(np.full((4, 4), 70_000, np.int32)), "has values from 70000 to 70000"),
        (object(), "is an array of"),
    ],
)
def test_arrays_that_are_no_picture_are_refused(picture, sentence):
    with pytest.raises(MamlBenchError, match=f"the picture {sentence}"):
        Preparation().prepare(picture)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 0}, "the size is 0, but must be 1 to 1024 pixels"),
        ({"size": 2000}, "the size is 2000"),
        ({"colour": "gray"}, "there is no colour 'gray' (did you mean 'grey'?)"),
        ({"resize": "cropp"}, "there is no way to resize 'cropp' (did you mean 'crop'?)"),
    ],
)
def test_options_that_there_are_not_are_refused(options, sentence):
    with pytest.raises(MamlBenchError) as caught:
        Preparation(**options)
    assert str(caught.value).startswith(sentence)
