"""The events of an open subscription: each is charged, executed, observed and sent, one after the other."""

import datetime
from collections.abc import Awaitable, Callable
from functools import partial

import orjson

from graph.http.call import Call
from graph.http.parsing.requests import HttpRefused
from graph.http.pipeline import Pipeline
from graph.http.responses.content import Contents, complete
from graph.http.responses.response import Response, codes_of, errors_answer
from graph.http.responses.writing import AnswerTooLargeError, encode_bounded
from graph.http.subscribing import Subscribed
from graph.operations.cache import RequestRefused
from graph.operations.subscriptions import SourceEvent, SubscriptionEndedError

Emit = Callable[[bytes], Awaitable[None]]
"""Sends one result, as JSON, and waits until the client takes further ones."""


async def send_events(pipeline: Pipeline, call: Call, opened: Subscribed, emit: Emit) -> Response:
    """Send all events of a subscription, close it, and return the response with the error that has ended it.

    Without an error it ends only by the cancellation of this task.
    """
    subscription, numbers = opened.subscription, pipeline.observer.subscriptions
    numbers.opened(opened.seen, subscription.field, is_resumed=subscription.is_resumed)
    sent, reason = 0, "closed"
    try:
        while True:
            event = await subscription.next_event()
            if sent:  # the first one was charged when the subscription was opened
                pipeline.admission.charge(opened.price.cost, call.spenders)
            await emit(await _executed(pipeline, call, opened, event))
            sent += 1
            lag = datetime.datetime.now(datetime.UTC) - event.created_at
            numbers.sent(subscription.field, lag.total_seconds())
    except SubscriptionEndedError as ended:
        reason = ended.reason.value
        return errors_answer(503, opened.media_type, [ended.error])
    except HttpRefused as refused:
        reason = "limited"
        return errors_answer(refused.status, opened.media_type, [refused.error])
    except RequestRefused as refused:
        reason = "refused"
        return errors_answer(400, opened.media_type, refused.errors)
    finally:
        await subscription.aclose()
        numbers.ended(opened.seen, subscription.field, sent, reason)


async def _executed(pipeline: Pipeline, call: Call, opened: Subscribed, event: SourceEvent) -> bytes:
    """Execute the operation for an event, and return its result as JSON."""
    services, contents = pipeline.services, Contents(pipeline.operations)
    bytes_max = services.settings.answer_bytes_max
    with pipeline.observer.event(opened.seen) as seen:
        services.database.shares.begin_operation(call.spenders.caller)
        executed = await opened.subscription.execute(event)
        content = contents.of(executed.result, opened.operation, call.request_id)
        complete(content, opened.request, opened.price, seen)
        if opened.price.answer_bytes <= bytes_max:
            return orjson.dumps(content)
        try:
            large: bytes = await services.worker.run(partial(encode_bounded, content, bytes_max))
        except AnswerTooLargeError as error:
            too_large = error.graphql_error(bytes_max, is_query=True)
            seen.codes = codes_of([too_large.formatted])
            return orjson.dumps({"data": None, "errors": [too_large.formatted]})
        return large
