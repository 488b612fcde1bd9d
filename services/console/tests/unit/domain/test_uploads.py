import pytest

from console.domain import uploads
from console.domain.uploads import Upload
from console.errors import BadRequestError


def test_what_a_page_carries_comes_back_byte_for_byte() -> None:
    files = [Upload("a.yaml", b"a: |\r\n  1\n\xff"), Upload("b.json", b"")]
    back = uploads.returned([one.name for one in files], [one.carried for one in files])
    assert back == files


@pytest.mark.parametrize(
    ("names", "contents"), [(["a"], []), (["a"], ["no base64!"]), (["a"], ["YQ"]), (["a"], ["é"])]
)
def test_what_did_not_come_back_whole_is_refused(names: list[str], contents: list[str]) -> None:
    with pytest.raises(BadRequestError, match="did not come back whole"):
        uploads.returned(names, contents)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([], "No file was chosen"),
        ([Upload("x", b"")] * (uploads.MAX_DOCUMENTS + 1), "201 files, and the page takes 200"),
        ([Upload("big.yaml", b" " * (256 * 1024 + 1))], "big.yaml has more than 256 KiB"),
        ([Upload("x", b" " * 256 * 1024)] * 9, "more than 2 MiB together"),
    ],
)
def test_what_one_apply_does_not_take_is_refused(files: list[Upload], told: str) -> None:
    with pytest.raises(BadRequestError, match=told):
        uploads.checked(files)


def test_the_most_that_is_taken_fits_into_a_form() -> None:
    files = [Upload(f"{number}.yaml", b" " * 256 * 1024) for number in range(8)]
    assert sum(len(one.carried) for one in uploads.checked(files)) < 3 * 1024 * 1024
