"""Functions of this module are called in other processes, so they stand at its top."""

import os
import signal
from functools import partial

import pytest

from dpo_core.errors import InputError
from infra.errors import ProcessFailed
from tasks.runtime.workers import FEW, in_order


def where(item):
    return item, os.getpid()


def refuse(item):
    raise InputError("no", where=str(item), do="nothing")


def die(item):
    os.kill(os.getpid(), signal.SIGKILL)


class UnknownThere:
    """A function whose module the other process does not find."""

    def __reduce__(self):
        return __import__, ("nosuchmodule",)


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
    with pytest.raises(ProcessFailed, match="it was killed by SIGKILL") as caught:
        list(in_order(die, range(20), workers=2))
    assert "DPO_NUM_THREADS=1" in caught.value.do
    assert "GiB of memory are free" in caught.value.where


def test_a_process_that_breaks_at_its_start_is_not_said_to_be_killed():
    with pytest.raises(ProcessFailed, match="it ended with exit code 1, and says why"):
        list(in_order(UnknownThere(), range(20), workers=2))
