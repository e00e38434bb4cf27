from __future__ import annotations

from gateway.base.text_cache import SHORT, short_text_cache


def test_a_short_text_is_worked_out_once_for_each_further_argument_and_a_long_one_each_time():
    worked_out: list[tuple[str, int]] = []

    @short_text_cache(8)
    def repeated(text: str, times: int) -> str:
        worked_out.append((text, times))
        return text * times

    short, long = "a" * SHORT, "a" * (SHORT + 1)
    answers = [repeated(text, times) for text in (short, long) for times in (1, 2) for _ in range(2)]

    assert answers == [short, short, short * 2, short * 2, long, long, long * 2, long * 2]
    assert worked_out == [(short, 1), (short, 2), (long, 1), (long, 1), (long, 2), (long, 2)]


def test_of_more_texts_than_there_is_room_for_the_last_are_kept():
    worked_out: list[bytes] = []

    @short_text_cache(2)
    def same(text: bytes) -> bytes:
        worked_out.append(text)
        return text

    for text in (b"1", b"2", b"3", b"3", b"2", b"1"):
        same(text)

    assert worked_out == [b"1", b"2", b"3", b"1"]
