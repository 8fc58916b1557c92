"""Images as cameras and programs write them: shown as they are seen, or refused; nothing is dropped without a word."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from deepbures.datasets import load_dataset

pillow = pytest.importorskip("PIL.Image")


@pytest.fixture
def colors() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, colors: np.ndarray) -> Path:
    """With one plain image in color, a.png."""
    pillow.fromarray(colors[0]).save(tmp_path / "a.png")
    return tmp_path


def write_deep_png(path: Path, pixels: np.ndarray, color_type: int) -> None:
    """A PNG of 16 bits a channel, by its specification: Pillow writes none in color."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _write_images(folder: Path, images: dict[str, np.ndarray]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    folder.mkdir()
    for name, image in images.items():
        pillow.fromarray(image).save(folder / name)


# ---------------------------------------------------------------------- read


def test_folder_of_gray_images(tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    _write_images(tmp_path / "pictures", {"b.png": images[1], "a.PNG": images[0], "c.bmp": images[2]})
    (tmp_path / "pictures" / "notes.txt").write_text("not an image")
    (tmp_path / "pictures" / ".hidden.png").write_text("not an image either")
    data = load_dataset(tmp_path / "pictures")
    np.testing.assert_array_equal(data.samples, images.reshape(3, -1) / 255)
    assert (data.name, data.image_shape) == ("pictures", (5, 4))


def test_folder_of_color_images(tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    with_alpha = np.concatenate([images[1], np.full((5, 4, 1), 255, np.uint8)], axis=-1)  # nothing is transparent
    _write_images(tmp_path / "pictures", {"a.png": images[0], "b.png": with_alpha})
    data = load_dataset(str(tmp_path / "pictures"))
    np.testing.assert_array_equal(data.samples, images.reshape(2, -1) / 255)
    assert data.image_shape == (5, 4, 3)


def test_folder_of_16_bit_palette_and_bilevel_images(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    deep = np.random.default_rng(2).integers(0, 65536, (2, 5, 4), dtype=np.uint16)
    _write_images(tmp_path / "deep", {"a.png": deep[0], "b.tif": deep[1]})
    np.testing.assert_array_equal(load_dataset(tmp_path / "deep").samples, deep.reshape(2, -1) / 65535)
    flat = np.zeros((2, 2, 3), np.uint8)
    flat[0, 0] = (255, 0, 0)
    _write_images(tmp_path / "palette", {"a.png": flat})
    pillow.fromarray(flat).quantize(2).save(tmp_path / "palette" / "b.png", transparency=b"\xff\xff")
    rows = load_dataset(tmp_path / "palette").samples
    np.testing.assert_array_equal(rows[0], rows[1])
    _write_images(tmp_path / "bilevel", {"a.png": np.eye(3) > 0, "b.png": np.eye(3) <= 0})
    np.testing.assert_array_equal(load_dataset(tmp_path / "bilevel").samples.sum(axis=0), np.ones(9))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_opaque_images_lose_nothing(tmp_path, colors, mode):
    plain = pillow.fromarray(colors[0]).convert({"RGBA": "RGB", "LA": "L", "PA": "P"}[mode])
    plain.save(tmp_path / "a.tif")
    with_alpha = plain.convert({"PA": "RGBA"}.get(mode, mode))
    with_alpha.putalpha(255)
    with_alpha.save(tmp_path / "b.png")
    rows = load_dataset(tmp_path).samples
    np.testing.assert_array_equal(rows[0], rows[1])
    assert rows.shape == (2, 24 if mode == "LA" else 72)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_as_their_camera_tells(tmp_path, colors, orientation):
    """By the EXIF standard: where row 0 and column 0 of what is stored are seen."""
    turned = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: x[::-1].swapaxes(0, 1),
        7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: x[:, ::-1].swapaxes(0, 1),
    }[orientation]
    for name, image in zip(("a.png", "b.png"), colors, strict=True):
        exif = pillow.Exif()
        exif[0x0112] = orientation
        pillow.fromarray(image).save(tmp_path / name, exif=exif)
    data = load_dataset(tmp_path)
    assert data.image_shape == turned(colors[0]).shape
    np.testing.assert_array_equal(data.samples[1].reshape(data.image_shape), turned(colors[1]) / 255)


def test_deep_gray_is_read_in_full(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (2, 4, 6))
    for name, image in zip(("a.png", "b.png"), pixels, strict=True):
        write_deep_png(tmp_path / name, image, 0)
    np.testing.assert_array_equal(load_dataset(tmp_path).samples, pixels.reshape(2, -1) / 65535)


def test_pictures_of_cameras_with_a_preview_are_read(tmp_path, colors):
    first, second = map(pillow.fromarray, colors)
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    first.save(tmp_path / "b.jpg", quality=95)
    rows = load_dataset(tmp_path).samples
    np.testing.assert_array_equal(rows[0], rows[1])


def test_images_that_are_left_out_are_a_warning(folder, colors):
    image = pillow.fromarray(colors[1])
    image.save(folder / "b.png")
    (folder / "notes").mkdir()
    assert load_dataset(folder).num_samples == 2
    image.save(folder / "c.gif")
    (folder / "more").mkdir()
    image.save(folder / "more" / "d.png")
    with pytest.warns(
        UserWarning, match=r"of the images in .*, all \.gif files and the subfolders more are not read\. Conv"
    ):
        assert load_dataset(folder).num_samples == 2


# ---------------------------------------------------------------------- refused


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(
        ValueError, match=r"holds no images \(\.png, .*\.webp\)\. Images in its subfolders are not read"
    ):
        load_dataset(tmp_path)


def test_images_of_different_shapes(tmp_path):
    gray = np.zeros((4, 5), np.uint8)
    _write_images(tmp_path / "sizes", {"a.png": gray, "b.png": gray, "c.png": gray.T})
    with pytest.raises(ValueError, match=r"a\.png has \(4, 5\) and .*c\.png has \(5, 4\)"):
        load_dataset(tmp_path / "sizes")
    _write_images(tmp_path / "modes", {"a.png": gray, "b.png": np.zeros((4, 5, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"a\.png has \(4, 5\) and .*b\.png has \(4, 5, 3\)"):
        load_dataset(tmp_path / "modes")


def test_bad_images(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    _write_images(tmp_path / "one", {"a.png": picture})
    with pytest.raises(ValueError, match="holds one sample only"):
        load_dataset(tmp_path / "one")
    for name in ("b.png", "b.jpg", "b.bmp", "b.tif", "b.webp"):
        folder = tmp_path / name.replace(".", "_")
        _write_images(folder, {"a.png": picture, name: picture})
        whole = (folder / name).read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"not an image"):
            (folder / name).write_bytes(content)
            with pytest.raises(ValueError, match=rf"{re.escape(name)} could not be read as an image \("):
                load_dataset(folder)
    _write_images(tmp_path / "floats", {"a.tif": np.zeros((2, 2), np.float32)})
    with pytest.raises(ValueError, match=r"a\.tif has pixels of mode F, whose range is not known"):
        load_dataset(tmp_path / "floats")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_refused(folder, colors, mode):
    image = pillow.fromarray(colors[1]).convert(mode)
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[2, 3] = 254
    image.putalpha(pillow.fromarray(alpha))
    image.save(folder / "b.png")
    with pytest.raises(
        ValueError, match=r"b\.png has transparent pixels, .* on a background first .* or save all images"
    ):
        load_dataset(folder)


@pytest.mark.parametrize("is_used", [True, False])
def test_a_transparent_color_is_refused_where_a_pixel_has_it(folder, colors, is_used):
    other = next(
        c for c in range(256) if (c, c, c) not in {tuple(pixel) for pixel in colors[1].reshape(-1, 3).tolist()}
    )
    color = tuple(colors[1][0, 0].tolist()) if is_used else (other,) * 3
    pillow.fromarray(colors[1]).save(folder / "b.png", transparency=color)
    if is_used:
        with pytest.raises(ValueError, match=r"b\.png has transparent pixels"):
            load_dataset(folder)
    else:
        np.testing.assert_array_equal(load_dataset(folder).samples[1], colors[1].ravel() / 255)


def test_a_palette_with_a_transparent_color_in_use_is_refused(folder, colors):
    pillow.fromarray(colors[1]).quantize(8).save(folder / "b.png", transparency=0)
    with pytest.raises(ValueError, match=r"b\.png has transparent pixels"):
        load_dataset(folder)


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_deep_color_is_refused_rather_than_cut_to_8_bits(folder, color_type, channels):
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 6, channels))
    write_deep_png(folder / "b.png", pixels, color_type)
    with pytest.raises(ValueError, match=r"b\.png has 16 bits a channel in color .* of which only 8 would be read"):
        load_dataset(folder)


@pytest.mark.parametrize("name", ["b.tif", "b.jpg"])
def test_inks_are_no_colors(folder, colors, name):
    pillow.fromarray(colors[1]).convert("CMYK").save(folder / name)
    with pytest.raises(
        ValueError, match=rf"{name[:1]}\{name[1:]} has CMYK colors, .* Convert it first \(Pillow: ImageCms"
    ):
        load_dataset(folder)


@pytest.mark.parametrize("name", ["b.tif", "b.png", "b.webp"])
def test_files_of_several_images_are_refused(folder, colors, name):
    first, second = map(pillow.fromarray, colors)
    first.save(folder / name, save_all=True, append_images=[second])
    with pytest.raises(
        ValueError, match=rf"{name[:-4]}.* holds 2 frames or pages, but a file is one sample\. Save each"
    ):
        load_dataset(folder)
