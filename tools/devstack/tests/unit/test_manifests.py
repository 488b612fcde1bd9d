"""Which manifests are rendered: each overlay with the extras that fit it, and with each other."""

from pathlib import Path

import pytest

from devstack import manifests
from devstack.errors import DevstackError
from devstack.manifests import EXTRAS, Layer


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    components = {"open": "[]", "closed": "[../../components/secured]"}
    for overlay, listed in components.items():
        folder = tmp_path / manifests.FOLDER / "overlays" / overlay
        folder.mkdir(parents=True)
        (folder / "kustomization.yaml").write_text(f"components: {listed}\n")
    return tmp_path


def test_an_overlay_is_rendered_alone_and_with_each_extra_and_with_all_that_go_together(
    clone: Path,
) -> None:
    closed = [set(one.extras) for one in manifests.layers(clone) if one.overlay == "closed"]

    assert closed[0] == set()
    assert all({extra} in closed for extra in set(EXTRAS) - {"prometheus-operator"})
    assert {"observability", "prometheus-operator"} in closed
    assert set(EXTRAS) - {"hpa"} in closed
    assert set(EXTRAS) - {"keda"} in closed


def test_what_scrapes_a_port_is_only_put_where_that_is_open(clone: Path) -> None:
    for one in manifests.layers(clone):
        assert "prometheus-operator" not in one.extras or "observability" in one.extras


def test_two_that_count_the_same_replicas_are_not_put_together(clone: Path) -> None:
    assert not [one for one in manifests.layers(clone) if {"keda", "hpa"} <= set(one.extras)]


def test_where_nobody_has_a_certificate_nothing_is_put_that_needs_one(clone: Path) -> None:
    found = [one for one in manifests.layers(clone) if one.overlay == "open"]

    assert found == [
        Layer("open"),
        *(Layer("open", (extra,)) for extra in ("hpa", "worker-builds")),
        Layer("open", ("hpa", "worker-builds")),
    ]


def test_what_cannot_be_rendered_is_told_with_the_reason(clone: Path) -> None:
    with pytest.raises(DevstackError, match="secured"):
        manifests.layer(clone, Layer("closed"))
