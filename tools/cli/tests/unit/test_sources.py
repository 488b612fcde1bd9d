import os
from pathlib import Path
from typing import Any

import pytest

from cli import sources
from cli.errors import CliError, UsageError
from cli.sources import UnreadableSourcesError


def test_hidden_folders_are_left_out_and_nothing_comes_twice(folder: Path) -> None:
    found = sources.expand([str(folder / "b.json"), str(folder), str(folder / "a.yml")])
    assert [Path(one).name for one in found] == ["b.json", "a.yml", "c.yaml"]


def test_hidden_file_that_is_named_is_meant(folder: Path) -> None:
    assert sources.expand([str(folder / ".git")]) == [str(folder / ".git" / "config.yaml")]


@pytest.mark.parametrize("name", ["absent.yaml", "empty", "x" * 5000])
def test_what_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name[:100]):
        sources.load([str(tmp_path / name)])


def test_all_files_that_cannot_be_sent_are_told_and_nothing_is_sent(
    backbone: Any, folder: Path, services: Any
) -> None:
    (folder / "large.yaml").write_bytes(b"#" * (256 * 1024 + 1))
    (folder / "larger.json").write_bytes(b" " * (5 * 1024 * 1024))
    (folder / "largest.yaml").write_bytes(b"#" * (256 * 1024))
    result = backbone("apply", "-f", str(folder))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{folder / 'large.yaml'}: a document has at most 256 KiB, and this has more",
        "",
        f"{folder / 'larger.json'}: a document has at most 256 KiB, and this has more",
    ]
    assert result.stderr == "backbone: 2 problems in 2 documents; nothing was sent\n"
    assert services.registry.applies == []


def test_unreadable_file_is_told_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (256 * 1024 + 1))
    # It was there a moment ago.
    gone = tmp_path / "gone.yaml"
    monkeypatch.setattr(sources, "expand", lambda files: files)
    with pytest.raises(UnreadableSourcesError) as raised:
        sources.load([str(gone), str(large)])
    assert raised.value.problems == [
        (str(gone), "cannot be read: No such file or directory"),
        (str(large), "a document has at most 256 KiB, and this has more"),
    ]


def test_more_documents_than_one_apply_takes_are_told_in_a_sentence(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number}.json").write_text("{}")
    with pytest.raises(CliError, match="1001 documents, and one apply takes 1000"):
        sources.load([str(tmp_path)])


def test_set_that_does_not_fit_into_a_message_is_told_in_a_sentence(tmp_path: Path) -> None:
    for number in range(15):
        (tmp_path / f"{number}.yaml").write_bytes(b"#" * (250 * 1024))
    with pytest.raises(CliError, match=r"3\.7 MiB together, and one apply takes 3\.5 MiB"):
        sources.load([str(tmp_path)])


def test_file_whose_name_is_not_text_can_be_applied(
    backbone: Any, stack: Path, services: Any, document: Any
) -> None:
    (stack / os.fsdecode(b"caf\xe9")).mkdir()
    (stack / os.fsdecode(b"caf\xe9") / "x.yaml").write_text(document("x.y"))
    result = backbone("apply", "-f", ".")
    assert result.exit_code == 0
    assert services.registry.applies[0].documents[0].name == "caf�/x.yaml"
