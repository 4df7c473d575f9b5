"""Functions of this module are called in other processes, so they stand at its top."""

import os
import signal
from functools import partial

import pytest

from dpo_core.errors import InputError
from tasks.runtime.workers import FEW, WorkerLostError, in_order


def where(item):
    return item, os.getpid()


def refuse(item):
    raise InputError("no", where=str(item), do="nothing")


def die(item):
    os.kill(os.getpid(), signal.SIGKILL)


def add(number, item):
    return item + number


def test_few_items_stay_in_this_process():
    assert list(in_order(where, range(FEW), workers=2)) == [(item, os.getpid()) for item in range(FEW)]


def test_many_items_go_to_processes_of_their_own_and_come_back_in_order():
    results = list(in_order(where, range(40), workers=2))
    assert [item for item, _ in results] == list(range(40))
    assert os.getpid() not in {process for _, process in results}


def test_one_core_starts_no_process():
    assert {process for _, process in in_order(where, range(40), workers=1)} == {os.getpid()}


def test_no_items_give_no_results():
    assert list(in_order(where, [], workers=2)) == []


def test_a_function_with_arguments_of_its_own():
    assert list(in_order(partial(add, 5), range(20), workers=2)) == list(range(5, 25))


def test_an_input_error_comes_back_with_its_three_parts():
    with pytest.raises(InputError) as caught:
        list(in_order(refuse, range(20), workers=2))
    assert (caught.value.says, caught.value.where, caught.value.do) == ("no", "0", "nothing")


def test_a_process_that_is_killed_is_named_as_such():
    with pytest.raises(WorkerLostError, match="DPO_NUM_THREADS=1"):
        list(in_order(die, range(20), workers=2))
