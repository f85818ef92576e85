"""The soak's oracle: which answers it accepts, and which it reports as violations."""

import time
from typing import Any

import pytest

from bench.soak.journal import Movement, Outcome, Post
from bench.soak.oracle import Oracle
from bench.soak.wire import Answer
from bench.soak.world import User


def error(code: str, *path: str | int, **more: Any) -> dict[str, Any]:
    return {"message": "it is worded", "path": list(path), "extensions": {"code": code, **more}}


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


@pytest.fixture
def faulty(oracle: Oracle) -> Oracle:
    """The oracle while a fault is active."""
    oracle.faults.begin("cut")
    return oracle


def judged(oracle: Oracle, content: dict[str, Any], status: int = 200, **more: Any) -> Any:
    return oracle.judged(Answer(status, content), time.monotonic(), "a request", **more)


def test_an_answer_without_errors_passes(oracle: Oracle) -> None:
    assert judged(oracle, {"data": {"a": 1}}).data == {"a": 1}
    assert not oracle.violations


def test_a_documented_error_passes_only_if_a_fault_explains_it(oracle: Oracle) -> None:
    content = {"data": {"a": None}, "errors": [error("DATABASE_UNAVAILABLE", "a")]}
    assert judged(oracle, content).failed == {"a"}
    assert dict(oracle.kinds) == {"DATABASE_UNAVAILABLE without a fault": 1}
    oracle.faults.begin("cut")
    judged(oracle, content)
    assert oracle.violations == 1


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, {"data": None, "errors": [error("INTERNAL_SERVER_ERROR", "a")]}),
        (500, {"errors": [error("DATABASE_UNAVAILABLE")]}),
        (503, {}),
        (503, {"data": {"a": 1}, "errors": [error("DATABASE_BUSY")]}),
        (200, {"data": None}),
        (401, {"errors": [error("UNAUTHENTICATED")]}),
    ],
)
def test_no_fault_explains_an_answer_that_makes_no_sense(faulty: Oracle, status: int, content: dict[str, Any]) -> None:
    judged(faulty, content, status)
    assert faulty.violations


def test_a_missing_required_error_is_a_violation(oracle: Oracle) -> None:
    expected = {("bad", "posts"): "BAD_USER_INPUT"}
    judged(oracle, {"data": {"bad": None}, "errors": [error("BAD_USER_INPUT", "bad", "posts")]}, expected=expected)
    assert not oracle.violations
    judged(oracle, {"data": {"bad": {"posts": []}}}, expected=expected)
    assert dict(oracle.kinds) == {"an error is missing": 1}


def test_an_error_promises_that_nothing_was_written_unless_its_outcome_is_unknown_or_its_path_later(
    faulty: Oracle,
) -> None:
    promising = error("DATABASE_UNAVAILABLE", "transfer")
    honest = error("DATABASE_UNAVAILABLE", "transfer", outcomeUnknown=True)
    later = error("DATABASE_UNAVAILABLE", "transfer", "transaction", "from")
    unknown = [judged(faulty, {"data": None, "errors": [one]}).unknown for one in (promising, honest, later)]
    assert unknown == [False, True, True]


def test_only_the_kill_of_a_worker_explains_a_connection_that_ends(faulty: Oracle) -> None:
    faulty.broken(time.monotonic(), "a request", "reset")
    assert faulty.violations == 1
    faulty.faults.begin("kill worker")
    faulty.broken(time.monotonic(), "a request", "reset")
    assert faulty.violations == 1


def test_only_a_fault_of_the_clients_network_explains_a_missing_answer(faulty: Oracle) -> None:
    faulty.unanswered(time.monotonic(), "a request")
    assert dict(faulty.kinds) == {"no answer in time": 1}
    faulty.faults.begin("client: black hole")
    faulty.unanswered(time.monotonic(), "a request")
    faulty.broken(time.monotonic(), "a request", "reset")
    assert faulty.violations == 1


def test_contradicting_answers_to_one_key_are_a_violation() -> None:
    movement = Movement(User(1, "ada", "-"), "account_1", "account_2", "1.00", "why")
    assert movement.record_outcome(Outcome.MADE, "transaction_1")
    assert movement.record_outcome(Outcome.MADE, "transaction_1")
    assert not movement.record_outcome(Outcome.MADE, "transaction_2")
    assert not movement.record_outcome(Outcome.NOT_MADE)
    assert (movement.outcome, movement.transaction_id) == (Outcome.MADE, "transaction_1")


def test_a_post_with_another_version_or_text_is_a_violation() -> None:
    post = Post("post_1", User(1, "ada", "-"), "post 1", published=True, lowest=3, highest=4)
    shown = {"id": "post_1", "version": 3, "published": True, **post.texts(3)}
    assert post.difference(shown, 3) is None
    assert post.difference({**shown, "version": 4, **post.texts(4)}, 3) is None
    assert post.difference({**shown, "version": 4}, 3)
    assert post.difference({**shown, "version": 5, **post.texts(5)}, 3)
    assert post.difference(shown, 4)
    assert post.difference(None, 3)
