"""Foreign ids as columns keep them."""

from hub.store.ids import bounded


def test_bounded_keeps_an_id_when_it_fits() -> None:
    assert bounded("é" * 255) == "é" * 255


def test_bounded_keeps_two_ids_two_when_they_differ_behind_the_end_of_a_column() -> None:
    first, second = bounded("a" * 260 + "1"), bounded("a" * 260 + "2")

    assert first != second
    assert first.startswith("a" * 150 + "#")
    assert max(len(first), len(second)) <= 255
    assert len(bounded("b" * 300, 128)) <= 128


def test_bounded_keeps_ids_apart_when_they_hold_what_no_column_takes() -> None:
    assert bounded("a\0") != bounded("a\ud83d")
    assert "\0" not in bounded("a\0")
    bounded("a\ud83d").encode()
