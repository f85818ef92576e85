"""Opening a subscription: the step of the pipeline whose response is not a body, but an open subscription."""

from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from graph.analysis.limits import Price
from graph.http.call import Call
from graph.http.parsing.requests import GraphQLRequest, HttpRefused
from graph.http.responses.response import GRAPHQL_RESPONSE, Response
from graph.http.steps import Steps, Work
from graph.operations.cache import Operation, Operations
from graph.operations.dispatch import Size
from graph.operations.subscriptions import OpenSubscription, open_subscription
from graph.runtime.context import Services
from graph.telemetry.current import Observation

SUBSCRIPTION = "subscription"


@dataclass(slots=True)
class Subscribed(Response):
    """The response that opens a subscription. A live connection sends its events, and closes it.

    Attributes:
        subscription: the open subscription.
        operation: its operation.
        request: what the client has sent.
        price: the price of one event. That of the first event is charged already.
        seen: the observation of the subscription, which ends with it.
    """

    subscription: OpenSubscription = field(kw_only=True)
    operation: Operation = field(kw_only=True)
    request: GraphQLRequest = field(kw_only=True)
    price: Price = field(kw_only=True)
    seen: Observation = field(kw_only=True)


class Runs(Protocol):
    """What this step needs of the pipeline."""

    operations: Operations
    services: Services


def subscribed(call: Call, request: GraphQLRequest, operation: Operation, price: Price, runs: Runs) -> Steps:
    """Open a subscription, and return the response that holds it.

    Raises:
        HttpRefused: 406: the request is a plain one, whose response cannot be a stream.
        RequestRefused: it is invalid, or the viewer may not see its subject.
    """
    if not call.is_live:
        message = "the response to a subscription is a stream: accept text/event-stream, or open a WebSocket"
        raise HttpRefused(406, "NOT_ACCEPTABLE", message)
    assert call.seen is not None
    seen, size = call.seen, Size(price.values, call.stopwatch)
    seen.cost = price.cost
    arguments = (runs.operations, operation, request.variables, runs.services, call.viewer, size)
    subscription: OpenSubscription = yield Work(partial(open_subscription, *arguments))
    seen.ran, call.seen = True, None
    return Subscribed(
        200,
        b"",
        GRAPHQL_RESPONSE,
        subscription=subscription,
        operation=operation,
        request=request,
        price=price,
        seen=seen,
    )
