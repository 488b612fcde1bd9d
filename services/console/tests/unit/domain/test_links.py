from console.domain.links import Links

HERE = Links("dev", "http://temporal.example:8080/")


def test_whatever_an_id_holds_is_in_the_query() -> None:
    assert HERE.event("a b/?&=#", "orders") == "/dev/event?id=a+b%2F%3F%26%3D%23&source=orders"


def test_what_is_empty_is_left_out() -> None:
    assert HERE.event("e-1") == "/dev/event?id=e-1"
    assert HERE.to("overview") == "/dev/overview"


def test_temporal_is_told_which_namespace_and_execution() -> None:
    assert HERE.temporal("billing.x:event:abc", "run-1") == (
        "http://temporal.example:8080/namespaces/dev/workflows/billing.x%3Aevent%3Aabc/run-1"
    )


def test_without_a_ui_there_is_no_link_to_it() -> None:
    assert Links("dev").temporal("w") is None
