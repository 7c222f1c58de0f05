from itertools import pairwise

from stockstream.core.pressure import LONGEST, Pressure


def test_a_lone_update_is_not_delayed() -> None:
    pressure = Pressure()
    assert pressure.delay(0.0) == 0.0
    pressure.sent(0.0, 0.002)
    assert pressure.delay(0.004) == 0.0


def test_updates_that_come_while_there_is_hardly_time_to_send_are_gathered() -> None:
    pressure = Pressure()
    pressure.sent(0.0, 0.002)
    assert pressure.delay(0.003) == 0.002


def test_nothing_is_gathered_for_long() -> None:
    pressure = Pressure()
    pressure.sent(0.0, 1.0)
    assert pressure.delay(1.0) == LONGEST


def test_gathering_goes_on_while_it_is_of_use() -> None:
    pressure = Pressure()
    pressure.sent(0.0, 0.002)
    for _ in range(10):
        assert pressure.delay(0.003) == 0.002
        pressure.gathered(0.0, 0.002, count=2)


def test_gathering_that_was_of_no_use_is_tried_less_and_less_often() -> None:
    pressure = Pressure()
    pressure.sent(0.0, 0.002)
    tries = []
    for number in range(300):
        if pressure.delay(0.003):
            tries.append(number)
            pressure.gathered(0.0, 0.002, count=1)
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps == [2, 4, 8, 16, 32, 64, 65, 65]


def test_gathering_that_is_of_use_again_is_done_each_time_again() -> None:
    pressure = Pressure()
    pressure.sent(0.0, 0.002)
    for _ in range(3):
        pressure.delay(0.003)
        pressure.gathered(0.0, 0.002, count=1)
    while not pressure.delay(0.003):
        pass
    pressure.gathered(0.0, 0.002, count=5)
    assert pressure.delay(0.003) == 0.002
