"""How much that is new a container may bring: bursts pass, and what goes on above the limit is returned once."""

from agent.attribution.uniqueness import UniquenessBudget

SECOND = 10**9
START = 1000 * SECOND


def seconds_until_exceeding(budget, per_second, most=3600):
    for second in range(most):
        if budget.spend({7: per_second}, START + second * SECOND):
            return second
    return None


def test_a_container_at_the_limit_never_exceeds_it():
    assert seconds_until_exceeding(UniquenessBudget(500), 500) is None


def test_a_container_above_the_limit_exceeds_it_when_its_burst_is_spent():
    assert seconds_until_exceeding(UniquenessBudget(500), 1500) == 4  # 5000 are there at first, and 500 a second


def test_a_burst_of_ten_seconds_passes_and_the_next_one_too_after_ten_seconds():
    budget = UniquenessBudget(500)
    assert budget.spend({7: 5000}, START) == []
    assert budget.spend({7: 5000}, START + 10 * SECOND) == []
    assert budget.spend({7: 1}, START + 10 * SECOND) == [7]


def test_containers_have_budgets_of_their_own():
    budget = UniquenessBudget(500)
    assert budget.spend({7: 5001, 8: 5000}, START) == [7]


def test_a_container_that_exceeded_begins_anew():
    budget = UniquenessBudget(500)
    assert budget.spend({7: 9000}, START) == [7]
    assert budget.spend({7: 5000}, START) == []


def test_what_is_paid_for_is_forgotten():
    budget = UniquenessBudget(500)
    budget.spend(dict.fromkeys(range(1000), 1), START)
    budget.spend({}, START + 11 * SECOND)
    assert len(budget) == 0


def test_without_a_limit_nothing_exceeds_it():
    assert UniquenessBudget(0).spend({7: 10**9}, START) == []
