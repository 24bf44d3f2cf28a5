"""Images as data URIs: what is taken, and what is said of the others."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.errors import InvalidInput
from treadle.services.images import MAX_IMAGES, read_images

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
DATA = {
    "png": PNG,
    "jpeg": b"\xff\xd8\xff\xe0" + b"picture",
    "gif": b"GIF89a" + b"picture",
    "webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
}


def uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def faults(*uris: str, max_bytes: int = 1000) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        read_images(uris, max_bytes=max_bytes)
    return {path: " ".join(said) for path, said in refused.value.faults.items()}


def test_images_get_names_and_types() -> None:
    images = read_images([uri(kind, data) for kind, data in DATA.items()], max_bytes=1000)
    assert [(image.name, image.content_type) for image in images] == [
        ("image-1.png", "image/png"),
        ("image-2.jpg", "image/jpeg"),
        ("image-3.gif", "image/gif"),
        ("image-4.webp", "image/webp"),
    ]
    assert [image.data for image in images] == list(DATA.values())
    assert repr(images[0]) == "Image(name='image-1.png', content_type='image/png')"


@pytest.mark.parametrize(
    "written",
    [
        "data:image/jpg;base64," + base64.b64encode(DATA["jpeg"]).decode(),
        "DATA:IMAGE/PNG;BASE64," + base64.b64encode(PNG).decode(),
        "data:image/png;name=a.png;base64," + base64.b64encode(PNG).decode(),
        "data:image/png;base64," + base64.b64encode(PNG).decode()[:8] + "\r\n " + base64.b64encode(PNG).decode()[8:],
    ],
)
def test_other_spellings(written: str) -> None:
    assert read_images([written], max_bytes=1000)[0].data in DATA.values()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("https://example.com/a.png", "Must be a data URI"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "Must be a data URI"),
        ("data:image/png,raw", "Must be a data URI"),
        ("data:image/png;base64,!!!", "Is not base64."),
        ("data:image/png;base64,\u00e4\u00e4\u00e4\u00e4", "Is not base64."),
        (uri("png", DATA["gif"]), "Says that it is PNG, and is GIF."),
        (uri("png", b"<svg>"), "Says that it is PNG, and is no image that is known here."),
        ("data:image/png;base64,", "is no image"),
        (uri("png", PNG + bytes(1000)), "at most 1,000 bytes"),
    ],
)
def test_a_faulty_one_is_named_by_its_place(written: str, said: str) -> None:
    found = faults(uri("png", PNG), uri("gif", DATA["gif"]), written)
    assert list(found) == ["images[2]"]
    assert said in found["images[2]"]


def test_every_fault_is_named_and_there_are_not_too_many() -> None:
    assert list(faults("a", uri("png", PNG), "b")) == ["images[0]", "images[2]"]
    assert list(faults(*["a"] * (MAX_IMAGES + 1))) == ["images"]
    assert len(read_images([uri("png", PNG)] * MAX_IMAGES, max_bytes=1000)) == MAX_IMAGES


@given(st.text())
def test_no_text_does_harm(text: str) -> None:
    for written in (text, "data:image/png;base64," + text):
        assert list(faults(written, max_bytes=100)) == ["images[0]"]
