"""Files: uploaded in a stream, kept to whoever may have them, given back so that no browser runs them."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from tests.support.deployment import PROCESSES, Deployment, Json, Member, body, deployed
from tests.unit.api.golden import check_json

from treadle.domain.identity import Role


async def upload(
    here: Deployment, content: bytes, name: str = "notes.txt", kind: str = "text/plain", who: Member | None = None
) -> Json:
    answer = await here.http.post("/files", headers=(who or here.admin).headers, files={"file": (name, content, kind)})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def kept(folder: Path) -> list[Path]:
    """Files in the blobs."""
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.anyio
async def test_what_goes_in_comes_out(here: Deployment) -> None:
    content = bytes(range(256)) * 4_000
    answer = await here.http.post(
        "/files", headers=here.admin.headers, files={"file": ("größe.bin", content, "application/x-thing")}
    )
    check_json("file", answer.content)
    stored = answer.json()
    assert stored["size"] == len(content)
    assert stored["sha256"] == hashlib.sha256(content).hexdigest()
    path = f"/files/by-id/{stored['id']}"
    assert (await here.http.get(path, headers=here.admin.headers)).json() == stored
    assert (await here.http.get("/files", headers=here.admin.headers)).json() == [stored]
    got = await here.http.get(f"{path}/content", headers=here.admin.headers)
    assert got.content == content
    assert got.headers["content-type"] == "application/x-thing"
    assert int(got.headers["content-length"]) == len(content)


@pytest.mark.anyio
async def test_a_browser_keeps_what_somebody_uploaded_apart(here: Deployment) -> None:
    form = part("file", b"<script>alert(1)</script>", r"a\"; x=\"é%.html") + b"--b--\r\n"
    stored = (await post_form(here, form.replace(b"\r\n\r\n", b"\r\nContent-Type: text/html\r\n\r\n", 1))).json()
    got = await here.http.get(f"/files/by-id/{stored['id']}/content", headers=here.admin.headers)
    assert got.content == b"<script>alert(1)</script>"
    assert got.headers["content-type"] == "text/html"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"].startswith("sandbox")
    assert got.headers["content-disposition"] == (
        "attachment; filename=\"a_; x=___.html\"; filename*=UTF-8''a%22%3B%20x%3D%22%C3%A9%25.html"
    )


@pytest.mark.anyio
async def test_a_type_that_is_none_is_not_repeated(here: Deployment) -> None:
    stored = await upload(here, b"x", kind="text/html\tx")
    assert stored["contentType"] == "application/octet-stream"
    form = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n'
    answer = await post_form(here, form)
    assert answer.json()["contentType"] == "application/octet-stream"
    assert answer.json()["name"] == "file"


async def post_form(here: Deployment, form: bytes | AsyncIterator[bytes], boundary: str = "b") -> httpx2.Response:
    headers = {**here.admin.headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
    return await here.http.post("/files", headers=headers, content=form)


def part(name: str, content: bytes, filename: str | None = "f") -> bytes:
    shown = f'; filename="{filename}"' if filename is not None else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + content + b"\r\n"


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 7, 64])
async def test_a_form_may_arrive_in_any_pieces(here: Deployment, size: int) -> None:
    content = b"line\r\n--b\r\n--bb--\r\n" * 20 + b"\r\n--"
    form = '--bbb\r\nContent-Disposition: form-data; name="file"; filename="ü.txt"\r\n\r\n'.encode()
    form += content + b"\r\n--bbb--\r\n"

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(form), size):
            yield form[at : at + size]

    answer = await post_form(here, pieces(), "bbb")
    assert answer.status_code == 200, answer.text
    assert answer.json()["name"] == "ü.txt"
    got = await here.http.get(f"/files/by-id/{answer.json()['id']}/content", headers=here.admin.headers)
    assert got.content == content


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (b"--b--\r\n", {"file": "There must be a file in this field."}),
        (b"", {"file": "There must be a file in this field."}),
        (part("other", b"x") + b"--b--\r\n", {"other": "There is only one field here: 'file'."}),
        (part("file", b"x") + part("note", b"y", None) + b"--b--\r\n", {"note": "There is only one field"}),
        (part("file", b"x") + part("file", b"y") + b"--b--\r\n", {"file": "There must be one file only."}),
        (part("file", b"x"), {"file": "The form breaks off before its end."}),
        (b"no form at all", {"file": "The form cannot be read."}),
        (b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n", {"file": "The form cannot be read."}),
    ],
    ids=["no-part", "empty", "other", "besides", "two", "broken-off", "garbage", "header"],
)
async def test_a_form_that_is_not_one_file_keeps_nothing(
    here: Deployment, tmp_path: Path, form: bytes, expected: dict[str, str]
) -> None:
    answer = await post_form(here, form)
    assert answer.status_code == 400, answer.text
    errors = answer.json()["errors"]
    assert set(errors) == set(expected)
    for name, said in expected.items():
        assert errors[name][0].startswith(said)
    assert kept(tmp_path) == []
    assert (await here.http.get("/files", headers=here.admin.headers)).json() == []


@pytest.mark.anyio
async def test_no_form_is_415(here: Deployment) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data"}, {}):
        answer = await here.http.post("/files", headers={**here.admin.headers, **headers}, content=b"x")
        assert answer.status_code == 415
    answer = await post_form(here, b"x", "b" * 5_000)
    assert answer.status_code in {400, 415}


@pytest.mark.anyio
async def test_past_the_limit_is_413_and_nothing_is_kept(tmp_path: Path) -> None:
    async with deployed(tmp_path, max_file_bytes=100_000) as here:
        assert (await upload(here, b"x" * 100_000))["size"] == 100_000

        async def pieces() -> AsyncIterator[bytes]:
            yield part("file", b"").removesuffix(b"\r\n")
            for _ in range(101):
                yield b"x" * 1_000
            yield b"\r\n--b--\r\n"

        whole = part("file", b"x" * 100_001) + b"--b--\r\n"
        for form in (whole, part("file", b"x" * 200_000) + b"--b--\r\n", pieces()):
            answer = await post_form(here, form)
            assert answer.status_code == 413
            assert "100,000 bytes" in answer.json()["detail"]
        assert len(kept(tmp_path)) == 1
        assert len((await here.http.get("/files", headers=here.admin.headers)).json()) == 1


@pytest.mark.anyio
async def test_who_sees_which_file_and_may_use_it(here: Deployment) -> None:
    user = await here.member("user@example.com")
    organization = await here.services.identity.add_organization("Other")
    stranger = await here.member("stranger@example.com", Role.ADMIN, organization=organization)
    files = {
        "admin": await upload(here, b"a"),
        "user": await upload(here, b"u", who=user),
        "stranger": await upload(here, b"s", who=stranger),
    }
    people = {"admin": here.admin, "user": user, "stranger": stranger}
    sees = {"admin": ["user", "admin"], "user": ["user"], "stranger": ["stranger"]}
    for name, who in people.items():
        listed = (await here.http.get("/files", headers=who.headers)).json()
        assert [file["id"] for file in listed] == [files[each]["id"] for each in sees[name]]
        for each, file in files.items():
            is_seen = each in sees[name]
            path = f"/files/by-id/{file['id']}"
            for suffix in ("", "/content"):
                answer = await here.http.get(path + suffix, headers=who.headers)
                assert answer.status_code == (200 if is_seen else 404), (name, each)
            used = await here.http.post(PROCESSES, headers=who.headers, json=body(fileIds=[file["id"]]))
            assert used.status_code == (200 if is_seen else 400)
            if is_seen:
                assert used.json()["fileIds"] == [file["id"]]
            else:
                assert used.json()["errors"] == {"fileIds[0]": ["Is not the id of a file of yours."]}
                assert (await here.http.delete(path, headers=who.headers)).status_code == 404


@pytest.mark.anyio
async def test_a_file_in_use_stays(here: Deployment, tmp_path: Path) -> None:
    stored = await upload(here, b"x")
    process = await here.start(fileIds=[stored["id"]])
    path = f"/files/by-id/{stored['id']}"
    answer = await here.http.delete(path, headers=here.admin.headers)
    assert answer.status_code == 409
    assert len(kept(tmp_path)) == 1
    _, fence = await here.claim()
    await here.finish(fence)
    assert (await here.http.delete(path, headers=here.admin.headers)).status_code == 204
    assert kept(tmp_path) == []
    assert (await here.http.get(path, headers=here.admin.headers)).status_code == 404
    assert (await here.http.delete(path, headers=here.admin.headers)).status_code == 404
    assert (await here.get(process))["fileIds"] == [stored["id"]]


@pytest.mark.anyio
async def test_lists_are_paged(here: Deployment) -> None:
    ids = [(await upload(here, b"x"))["id"] for _ in range(3)]
    answer = await here.http.get("/files?skip=1&limit=1", headers=here.admin.headers)
    assert [file["id"] for file in answer.json()] == [ids[1]]
    answer = await here.http.get("/files?skip=x&limit=0", headers=here.admin.headers)
    assert set(answer.json()["errors"]) == {"skip", "limit"}
    for id_ in ("no-uuid", str(uuid4())):
        assert (await here.http.get(f"/files/by-id/{id_}", headers=here.admin.headers)).status_code == 404
