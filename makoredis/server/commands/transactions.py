"""MULTI, EXEC, DISCARD, WATCH, UNWATCH.

WATCH remembers the version of each key, which `WatchTable` counts up with every effect on it. EXEC compares under the
same serial execution as everything else, so nothing can come in between.
"""

from time import perf_counter
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.server.dispatch import EXEC_ABORTED
from makoredis.server.routes import NO_REPLY, Route, session_command
from makoredis.server.session import ForwardKind, Session
from resp.replies import NULL_ARRAY, OK, Error

if TYPE_CHECKING:
    from makoredis.server.server import Server


@session_command("MULTI", "Starts a transaction.")
def multi(server: "Server", session: Session) -> Any:
    if session.multi is not None:
        raise ClientError("ERR MULTI calls can not be nested")
    session.multi = []
    session.multi_failed = False
    session.refresh_special()
    return OK


@session_command("DISCARD", "Discards a transaction.")
def discard(server: "Server", session: Session) -> Any:
    if session.multi is None:
        raise ClientError("ERR DISCARD without MULTI")
    server.discard_transaction(session)
    return OK


@session_command("EXEC", "Executes all commands in a transaction.")
def exec_(server: "Server", session: Session) -> Any:
    queued = session.multi
    if queued is None:
        raise ClientError("ERR EXEC without MULTI")
    if session.multi_failed:
        server.discard_transaction(session)
        return EXEC_ABORTED
    if server.router is not None and server.router.execute(session, queued):
        return NO_REPLY
    if server.node.is_replicated and not server.forwarding.may_run_here(session):
        _forward(server, session, queued)
        return NO_REPLY
    guard_term = session.guard_term
    is_stale = session.watches_elsewhere or not server.watches.is_current(server, session)
    if session.watched and guard_term != server.node.host.term:
        is_stale = True  # others led in between, and nobody counted their changes
    server.discard_transaction(session)
    if is_stale:
        # That a watched key changed is something the client sees: it must not hear of it before it is final.
        server.dispatcher.answer(session, NULL_ARRAY, server.node.host.executor.gate_of_everything())
        return NO_REPLY
    refusal = _write_refusal(server, session, queued)
    if refusal is not None:
        return refusal
    run(server, session, queued, guard_term)
    return NO_REPLY


def _write_refusal(server: "Server", session: Session, queued: list[tuple[Route, list[bytes]]]) -> Error | None:
    for route, _ in queued:
        if route.is_write:
            refused = server.write_refusal(session, route)
            if refused is not None:
                return Error(b"EXECABORT Transaction discarded because of: " + refused.text.encode())
    return None


def _forward(server: "Server", session: Session, queued: list[tuple[Route, list[bytes]]]) -> None:
    """Has another node execute the transaction. What was watched here, when this node led, has lost its guard."""
    lost_guard, guard_term = bool(session.watched), session.guard_term
    server.discard_transaction(session)
    refusals = [server.permission_refusal(session, route, argv) for route, argv in queued]
    refused = next((refusal for refusal in refusals if refusal is not None), None)
    if refused is not None:
        server.dispatcher.answer(session, Error(b"EXECABORT Transaction discarded because of: " + refused.text), None)
    elif lost_guard:
        server.dispatcher.answer(session, NULL_ARRAY, None)
    else:
        commands = [argv for _, argv in queued]
        if session.tracking is not None:
            for route, argv in queued:
                server.tracking.remember(session, route, argv, runs_elsewhere=True)
        server.forwarding.submit(session, ForwardKind.TRANSACTION, commands, guard_term=guard_term)


def run(server: "Server", session: Session, queued: list[tuple[Route, list[bytes]]], guard_term: int) -> None:
    """Executes the commands of a transaction, one after the other with nothing in between, and answers.

    Args:
        guard_term: the leadership whose watch table guards it, 0 if nothing is watched. A later leader's knows nothing
            of it, so there the transaction is refused as if a watched key had changed.
    """
    if session.proxy is not None:
        is_stale = guard_term != 0 and not _is_guarded(server, session, guard_term)
        server.watches.forget(session)
        if is_stale:
            session.send_reply(NULL_ARRAY, server.node.host.executor.gate_of_everything())
            return
    dispatcher = server.dispatcher
    access = dispatcher.begin(session)
    replies = []
    session.in_exec = True
    for route, argv in queued:
        started = perf_counter()
        refusal = server.permission_refusal(session, route, argv)
        if refusal is not None:
            replies.append(refusal)
            continue
        if route.is_data:
            replies.append(dispatcher.invoke(access, route, argv))
        else:
            replies.append(dispatcher.call_session(session, route, argv)[0])
            if access.number != session.database:
                access.select(session.database)
        dispatcher.count(session, route, argv, perf_counter() - started)
        if server.monitors.sessions:
            server.monitors.feed(session, route.row, argv)
    session.in_exec = False
    answer = [reply for reply in replies if reply is not NO_REPLY]
    gate = dispatcher.finish(session, access, queued, answer)
    request = dispatcher.present_request(session, [argv for _, argv in queued], ForwardKind.TRANSACTION)
    if request is not None:
        request.guard_term = guard_term
    dispatcher.answer(session, answer, gate, request)


def _is_guarded(server: "Server", session: Session, guard_term: int) -> bool:
    """Whether a proxy's watched keys are unchanged since WATCH. If nothing is watched, the guard was lost."""
    if not session.watched or guard_term != server.node.host.term:
        return False
    return server.watches.is_current(server, session)


@session_command("WATCH", "Monitors changes to keys to determine the execution of a transaction.")
def watch(server: "Server", session: Session, *keys: bytes) -> Any:
    if session.multi is not None:
        raise ClientError("ERR WATCH inside MULTI is not allowed")
    if server.router is not None:
        server.router.watch(session, list(keys))
        return NO_REPLY
    session.guard_term = session.guard_term or server.node.host.term
    if server.node.is_replicated and not server.forwarding.may_run_here(session):
        session.watches_elsewhere = True
        server.forwarding.submit(session, ForwardKind.WATCH, [list(keys)], guard_term=session.guard_term)
        return NO_REPLY
    for key in keys:
        server.watches.watch(server, session, key)
    return OK


@session_command("UNWATCH", "Forgets about watched keys of a transaction.")
def unwatch(server: "Server", session: Session) -> Any:
    server.watches.forget(session)
    session.watch_marks.clear()
    session.watches_elsewhere = False
    if session.guard_term and server.node.is_replicated and not server.forwarding.may_run_here(session):
        session.guard_term = 0
        server.forwarding.submit(session, ForwardKind.UNWATCH, [])
        return NO_REPLY
    session.guard_term = 0
    return OK
