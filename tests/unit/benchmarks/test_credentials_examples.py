from __future__ import annotations

from random import Random

from benchmarks.credentials.examples import checksum, example


def test_literals_and_runs_alternate():
    made = example("a_{d:4}-{x:6}z", Random(1))

    assert made.startswith("a_")
    assert made[2:6].isdigit()
    assert made.endswith("z")
    assert len(made) == 14


def test_the_same_seed_makes_the_same_value_and_another_another():
    assert example("{w:20}", Random(1)) == example("{w:20}", Random(1))
    assert example("{w:20}", Random(1)) != example("{w:20}", Random(2))


def test_a_checksum_is_that_of_a_known_expired_token():
    # The example of the thread that described the format: ghp_ + these thirty characters + 0mLq17.
    assert checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ") == "0mLq17"


def test_a_checksum_covers_the_run_before_it():
    made = example("ghp_{w:30}{crc62}", Random(3))

    assert checksum(made[4:34]) == made[34:]


def test_a_run_begins_and_ends_with_a_letter_or_digit():
    for seed in range(50):
        made = example("{u:12}", Random(seed))
        assert made[0].isalnum()
        assert made[-1].isalnum()
