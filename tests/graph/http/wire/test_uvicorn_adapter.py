"""What Folio uses of uvicorn's inside is there: the names are found in the source of our protocols."""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server

from graph.http.wire.uvicorn_adapter import STATUS_LINE, ServerState

ROOT = Path(__file__).parents[4]
EXTENDING = {
    "graph/http/wire/uvicorn_adapter.py": "UvicornProtocol",
    "graph/http/wire/protocol.py": "BoundedHttpProtocol",
    "graph/http/direct.py": "DirectHttpProtocol",
}
# What our protocols read and write of the cycle of a request.
OF_A_CYCLE = {"disconnected", "response_complete"}
SEE = "see graph/http/wire/uvicorn_adapter.py and graph/http/wire/protocol.py"


def extended_classes() -> Iterator[ast.ClassDef]:
    for name, wanted in EXTENDING.items():
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        yield next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == wanted)


def own_names() -> set[str]:
    """Return what our protocols define and assign themselves."""
    found = set()
    for protocol in extended_classes():
        for node in ast.walk(protocol):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_name(node.value, "self"):
                found.add(node.attr)
    return found


def is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def inherited_names() -> set[str]:
    """Return what our protocols use, but do not define or assign themselves, or also call of their base."""
    read, called = set(), set()
    for protocol in extended_classes():
        for node in ast.walk(protocol):
            if isinstance(node, ast.Attribute) and is_name(node.value, "self"):
                read.add(node.attr)
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Call)
                and is_name(node.value.func, "super")
            ):
                called.add(node.attr)
    return (read - own_names()) | called


def known_to(kind: type) -> set[str]:
    """Return the names of the members of a class, and of all attributes that its methods use."""
    methods = [one for one in vars(kind).values() if isinstance(one, FunctionType)]
    return set(dir(kind)) | {name for method in methods for name in method.__code__.co_names}


def test_protocol_of_uvicorn_has_all_that_ours_inherits() -> None:
    inherited = inherited_names()
    assert {"transport", "loop", "_start_asgi_task", "on_headers_complete", "flow"} <= inherited
    missing = sorted(inherited - known_to(HttpToolsProtocol))
    assert missing == [], f"uvicorn's HttpToolsProtocol has no {', '.join(missing)} any more: {SEE}"


def test_attributes_that_ours_sets_for_uvicorn_are_those_that_uvicorn_reads() -> None:
    ours = {"timeout_keep_alive_task", "timeout_keep_alive_handler", "headers", "url", "expect_100_continue", "cycle"}
    missing = sorted(ours - known_to(HttpToolsProtocol))
    assert missing == [], f"uvicorn's HttpToolsProtocol has no {', '.join(missing)} any more: {SEE}"


def test_request_cycle_of_uvicorn_shows_whether_its_response_is_complete() -> None:
    missing = sorted(OF_A_CYCLE - known_to(RequestResponseCycle))
    assert missing == [], f"uvicorn's RequestResponseCycle has no {', '.join(missing)} any more: {SEE}"


def test_state_of_the_server_has_the_connections_and_tasks_that_it_waits_for() -> None:
    state = ServerState()
    assert (state.connections, state.tasks) == (set(), set()), f"uvicorn's ServerState has another form: {SEE}"
    waiting = Server._wait_tasks_to_complete.__code__.co_names  # noqa: SLF001 - it must wait for both
    assert {"connections", "tasks"} <= set(waiting), f"uvicorn's Server does not wait for both: {SEE}"


def test_status_lines_of_uvicorn_end_where_the_headers_begin() -> None:
    assert httptools_impl.STATUS_LINE is STATUS_LINE
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n", f"uvicorn's STATUS_LINE has another form: {SEE}"
