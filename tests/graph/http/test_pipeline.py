"""The pipeline: what an error at any of its steps leaves behind."""

import pkgutil
from typing import Any

import pytest
from fastapi import FastAPI

from graph.http.admission.control import AdmissionControl
from tests.graph.support.callers import Client, Person

POST = "query ($id: ID!) { post(id: $id) { id title author { username } } }"
CREATE = 'mutation { createPost(input: {title: "One", content: "C"}) { post { id } } }'


@pytest.mark.parametrize(
    "step",
    [
        "http.parsing.requests._request_of",
        "http.admission.control.Spenders.of_user",
        "http.admission.control.AdmissionControl.charge",
        "http.pipeline.Pipeline._charged",
        "operations.cache.Operations.kept",
        "execution.engine.Prepared.lookup",
        "execution.single_read.SingleRead.answer",
        "operations.documents.Documents.text",
        "runtime.authentication.TokenClaims.viewer",
        "telemetry.current.Observation.add_read",
        "telemetry.observer.Observer.begin",
        "telemetry.observer.Observer.end",
    ],
)
async def test_error_at_any_step_leaves_no_place_taken_and_charges_nothing_twice(
    client: Client, app: FastAPI, ida: Person, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    post = (await client.data(CREATE, by=ida))["createPost"]["post"]["id"]
    await client.data(POST, by=ida, id=post)
    admission: AdmissionControl = vars(app)["direct"].pipeline.admission
    charge, charged = AdmissionControl.charge, 0

    def counted(*arguments: Any, **named: Any) -> None:
        nonlocal charged
        charged += 1
        charge(*arguments, **named)

    def failing(*_: object, **__: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(AdmissionControl, "charge", counted)
    failures = [failing]
    real = pkgutil.resolve_name(f"graph.{step}")

    def failing_once(*arguments: Any, **named: Any) -> Any:
        return (failures.pop() if failures else real)(*arguments, **named)

    monkeypatch.setattr(f"graph.{step}", failing_once)
    answer = await client.post(POST, by=ida, id=post)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (500, "INTERNAL_SERVER_ERROR")
    assert (failures, admission.in_flight, charged <= 1) == ([], 0, True)
    monkeypatch.undo()
    assert (await client.data(POST, by=ida, id=post))["post"]["id"] == post
