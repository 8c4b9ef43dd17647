"""Who waits for memory to decode a large image."""

import threading

from etlkit.local.image_memory import MemoryBudget


def test_who_asks_for_much_is_not_overtaken_for_ever():
    budget = MemoryBudget(10)
    order, first_has, first_may_end = [], threading.Event(), threading.Event()

    def first():
        with budget.held(8):
            first_has.set()
            first_may_end.wait(60)
            order.append("first")

    def large():
        with budget.held(100):  # all of it
            order.append("large")

    threads = [threading.Thread(target=each) for each in (first, large)]
    threads[0].start()
    assert first_has.wait(60)
    threads[1].start()
    first_may_end.set()
    for thread in threads:
        thread.join()
    assert order == ["first", "large"]
    with budget.held(10):  # all has been given back
        pass
