"""The doors to documents: HTTP and Socket.IO (``docs/sync.md``)."""

from typing import Any, Final

import msgspec
from aiohttp import web

from stockstream.errors import ForbiddenError, RateLimitedError
from stockstream.gateway.client import Client
from stockstream.gateway.http_identity import IDENTITY
from stockstream.gateway.responses import STATUS, error_response, json_response
from stockstream.gateway.routes import Answer, Call, Route
from stockstream.gateway.throttle import Throttle
from stockstream.model.document import Outcome, SyncStatus
from stockstream.model.identity import UserRole
from stockstream.ports import Clock
from stockstream.services.sync import SyncService
from stockstream.wire import names
from stockstream.wire.parameters import NoParameters
from stockstream.wire.requests import decode_request
from stockstream.wire.sync import (
    MAX_ITEMS,
    DocumentParameters,
    DocumentsParameters,
    SinceRequest,
    SyncRequest,
    read_items,
    read_key,
)
from stockstream.wire.sync_replies import (
    SYNC_ERROR,
    ConflictsReply,
    DocumentsReply,
    HistoryReply,
    SyncAnswer,
    SyncFailure,
    SyncResult,
    SyncResults,
    conflict_reply,
    document_reply,
    history_reply,
    refused_result,
    result_of,
)

#: Seconds' worth of items that a user may send at once after a quiet while.
_BURST_SECONDS: Final = 10.0
_TAG: Final = "documents"


class SyncDoor:
    """Takes what devices send, and answers what they ask."""

    def __init__(self, sync: SyncService, *, items_per_second: float, clock: Clock) -> None:
        self._sync = sync
        # After a while each batch passes, however large.
        burst = max(_BURST_SECONDS * items_per_second, float(MAX_ITEMS))
        # By user, whatever address a device has.
        self._throttle = Throttle(items_per_second, burst, clock.monotonic)

    def routes(self) -> list[Route]:
        """Return what there is to be asked."""
        return [
            Route(
                name="sync",
                path="/api/sync",
                method="POST",
                handler=self._post,
                tag=_TAG,
                role=UserRole.USER,
                summary="Change documents of the user: one item, or a batch of them.",
                description="Each item is applied once, however often it is sent, and answered "
                "when it is durable.",
                body=SyncRequest,
                answers={
                    200: Answer(
                        "The result of the item; of a batch, one for each.",
                        body=SyncAnswer,
                    ),
                    409: Answer("Both sides wait for the user.", body=SyncFailure),
                },
                errors=frozenset({403, 413, 503}),
            ),
            Route(
                name="documents",
                path="/api/sync",
                handler=self._get,
                tag=_TAG,
                role=UserRole.USER,
                summary="Documents of the user that have changed since a cursor, in pages.",
                parameters=DocumentsParameters,
                answers={200: Answer("In the order of their last changes.", body=DocumentsReply)},
                errors=frozenset({503}),
            ),
            Route(
                name="conflicts",
                path="/api/sync/conflicts",
                handler=self._conflicts,
                tag=_TAG,
                role=UserRole.USER,
                summary="Conflicts that wait for the user.",
                answers={200: Answer("The oldest first.", body=ConflictsReply)},
                errors=frozenset({503}),
            ),
            Route(
                name="documentHistory",
                path="/api/sync/history/{type}/{documentId}",
                handler=self._history,
                tag=_TAG,
                role=UserRole.USER,
                summary="The versions of a document of the user.",
                parameters=DocumentParameters,
                answers={200: Answer("The newest first.", body=HistoryReply)},
                errors=frozenset({404, 503}),
            ),
        ]

    # --- Socket.IO ----------------------------------------------------------------------------

    async def sync(self, client: Client, payload: object) -> Any:
        """Do what ``POST /api/sync`` does; replies ``synced``.

        Raises:
            RefusedError: nothing of it is kept.
        """
        reply = await self._answer(_user(client), payload)
        return client.send(names.SYNCED, reply)

    async def sync_since(self, client: Client, payload: object) -> Any:
        """Do what ``GET /api/sync`` does; replies ``documents``.

        Raises:
            RefusedError: the request is wrong, or can't be answered now.
        """
        asked = decode_request(SinceRequest, {} if payload is None else payload)
        reply = await self._changed(_user(client), asked.since, asked.limit, asked.type)
        return client.send(names.DOCUMENTS, reply)

    # --- HTTP ---------------------------------------------------------------------------------

    async def _post(self, call: Call[NoParameters]) -> web.Response:
        reply = await self._answer(call.request[IDENTITY].user, msgspec.to_builtins(call.body))
        if isinstance(reply, SyncResults) or reply.success:
            return json_response(reply)
        if reply.status is SyncStatus.CONFLICT:
            message = "both sides changed the document: it is for the user to decide"
            return json_response(SyncFailure.of(reply, "conflict", message), 409)
        error = reply.error
        if not error:
            return error_response(500, SYNC_ERROR, "internal", "this request failed")
        return json_response(
            SyncFailure.of(reply, error.code, error.message), STATUS.get(error.code, 400)
        )

    async def _get(self, call: Call[DocumentsParameters]) -> web.Response:
        asked = call.parameters
        user = call.request[IDENTITY].user
        return json_response(await self._changed(user, asked.since, asked.limit, asked.type))

    async def _conflicts(self, call: Call[NoParameters]) -> web.Response:
        waiting = await self._sync.conflicts(call.request[IDENTITY].user)
        return json_response(ConflictsReply(conflicts=[conflict_reply(each) for each in waiting]))

    async def _history(self, call: Call[DocumentParameters]) -> web.Response:
        asked = call.parameters
        key = read_key(asked.type, asked.document_id)
        history = await self._sync.history(call.request[IDENTITY].user, key, asked.limit)
        if history is None:
            return error_response(404, SYNC_ERROR, "not_found", "you have no such document")
        return json_response(history_reply(key, history))

    # --- both ---------------------------------------------------------------------------------

    async def _answer(self, user: str, payload: object) -> SyncResult | SyncResults:
        items, batch = read_items(payload)
        self._throttle_items(user, len(items))
        answers = await self._sync.sync(user, items)
        results = [
            result_of(answer) if isinstance(answer, Outcome) else refused_result(item, answer)
            for item, answer in zip(items, answers, strict=True)
        ]
        if not batch:
            return results[0]
        return SyncResults(success=all(each.success for each in results), results=results)

    async def _changed(
        self, user: str, cursor: str | None, limit: int, kind: str | None
    ) -> DocumentsReply:
        page, following = await self._sync.changed_since(user, cursor, limit=limit, kind=kind)
        return DocumentsReply(
            documents=[document_reply(each) for each in page.documents],
            cursor=following,
            more=page.more,
            reset=page.reset,
        )

    def _throttle_items(self, user: str, count: int) -> None:
        if wait := self._throttle.take(user, count):
            raise RateLimitedError(f"too many changes at once; go on in {wait:.1f} s")


def _user(client: Client) -> str:
    if not client.identity.may(UserRole.USER):
        raise ForbiddenError(f"the role {UserRole.USER} is needed for documents")
    return client.identity.user
