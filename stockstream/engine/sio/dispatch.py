"""From the engine's messages to handlers: who comes in, what is asked for, who leaves."""

import asyncio
from typing import Any

from socketio.exceptions import ConnectionRefusedError as SioConnectionRefusedError

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.message import Message
from stockstream.engine.errors import EncodeError, PacketViolation
from stockstream.engine.limits import Limits
from stockstream.engine.shell.environ import Environ
from stockstream.engine.sio import packets
from stockstream.engine.sio.handlers import HandlerServer
from stockstream.engine.sio.inbox import Inbox, gather
from stockstream.engine.sio.manager import Manager, leave, send_all
from stockstream.engine.sio.peer import CONNECTED, CONNECTING, Member, Peer
from stockstream.engine.sio.recovery import Admit, SessionRecovery, claim

#: Seconds between the acceptance of a client and what is sent to it right after. Node's WebSocket
#: hands over all that one read has brought at once: a client written with promises, which waits
#: for its acceptance and then for the next packet, would never see that next one.
_GREETING_SECONDS = 0.002


class Dispatcher(HandlerServer):
    """The part of `AsyncServer` that the engine and the clients drive; it sets the attributes."""

    manager: Manager
    limits: Limits
    manager_initialized: bool
    _inbox: Inbox
    _recovery: SessionRecovery | None
    _admit: Admit | None

    def encode(
        self, kind: int, namespace: str | None, data: Any = None, number: int | None = None
    ) -> list[Message]:
        """Return a packet as messages: one, or one and its attachments.

        Raises:
            EncodeError: the data cannot be sent.
        """
        encoded = self.packet_class(kind, data=data, namespace=namespace, id=number).encode()
        if isinstance(encoded, list):
            return [Message(part) for part in encoded]
        return [Message(encoded)]

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        connection = self.eio.connection(eio_sid)
        if connection is not None:
            encoded = pkt.encode()
            parts = encoded if isinstance(encoded, list) else [encoded]
            send_all(connection, [Message(part) for part in parts])

    def _reply(
        self, peer: Peer, kind: int, namespace: str, data: Any = None, number: int | None = None
    ) -> None:
        send_all(peer.connection, self.encode(kind, namespace, data, number))

    # What the engine tells.

    def _handle_eio_connect(self, connection: Connection, environ: Environ) -> None:
        if not self.manager_initialized:
            self.manager_initialized = True
            self.manager.initialize()
        connection.context = Peer(connection, environ)

    def _handle_eio_message(self, connection: Connection, data: str | bytes) -> None:
        peer: Peer = connection.context
        packet = peer.partial
        if packet is not None:
            if packet.add_attachment(data):
                peer.partial = None
                self._dispatch(peer, packet)
            return
        packet = self.packet_class(encoded_packet=data or "")
        if packet.packet_type is None or not data:
            raise PacketViolation("empty packet")
        if packet.packet_type in {packets.BINARY_EVENT, packets.BINARY_ACK}:
            self._member(peer, packet)
            if packet.attachment_count:
                peer.partial = packet
                return
        self._dispatch(peer, packet)

    def _handle_eio_disconnect(self, connection: Connection, reason: str) -> None:
        peer: Peer | None = connection.context
        if peer is None:
            return
        peer.partial = None
        peer.environ = None
        if self._recovery is not None and reason == self.reason.CLIENT_DISCONNECT:
            # A client that leaves for good says so to the namespace. This one has given up a
            # transport: a JavaScript client that polls says goodbye to it whenever it fails.
            reason = self.reason.TRANSPORT_CLOSE
        for member in list(peer.members.values()):
            if member.state == CONNECTED:
                leave(member)
                self._inbox.put(peer, self._leave, member, reason)
        self._inbox.finish(peer)

    def _dispatch(self, peer: Peer, packet: Any) -> None:
        kind = packet.packet_type
        data = packets.content_of(packet)
        if kind == packets.CONNECT:
            self._inbox.put(peer, self._connect, peer, packet.namespace or "/", data)
            return
        member = self._member(peer, packet)
        if member is None:
            return
        if kind in {packets.EVENT, packets.BINARY_EVENT}:
            self._inbox.put(peer, self._run_event, member, packet.id, data)
        elif kind == packets.DISCONNECT:
            # At once, so that nothing more is taken in; its handler runs when it is its turn.
            leave(member)
            self._inbox.put(peer, self._leave, member, self.reason.CLIENT_DISCONNECT)
        else:
            self._inbox.run(peer, self._run_callback, member, packet.id, data)

    def _member(self, peer: Peer, packet: Any) -> Member | None:
        namespace = packet.namespace or "/"
        member = peer.members.get(namespace)
        if member is not None and member.state == CONNECTED:
            return member
        if member is None and peer.left is not None and namespace in peer.left:
            # Sent before the client knew that the server took it out.
            return None
        raise PacketViolation("packet before CONNECT")

    # Jobs: each catches what handlers raise.

    async def _connect(self, peer: Peer, namespace: str, auth: Any) -> None:
        entering = peer.entering or set()
        if namespace in peer.members or namespace in entering:
            peer.connection.violate(PacketViolation("second CONNECT"))
            return
        refusal = self._refusal(peer, namespace)
        if refusal is not None:
            self._refuse(peer, namespace, {"message": refusal})
            return
        # What follows may have to wait: nobody enters twice meanwhile.
        peer.entering = entering | {namespace}
        try:
            if not await self._admitted(peer, namespace, auth):
                return
            sid, pid = await self._identify(peer, namespace, auth)
        finally:
            peer.entering = (peer.entering - {namespace}) or None
        member = Member(sid, namespace, peer)
        self.manager.add(member)
        if self.always_connect:
            self._accept(member, pid)
        try:
            error = await self._ask(member, auth)
        except asyncio.CancelledError:
            # Its client has been gone for too long: it never was let in.
            self.manager.basic_disconnect(sid, namespace)
            member.gone()
            raise
        if error is not None:
            await self._turn_away(member, error)
        elif not peer.connection.open:
            # It left while its handler was busy: the handler is owed the other half.
            await self._leave(member, self.reason.TRANSPORT_CLOSE)
        elif member.state == CONNECTING:
            self._accept(member, pid)
        if peer.environ is not None:
            peer.environ.release()

    def _refusal(self, peer: Peer, namespace: str) -> str | None:
        known = (
            namespace in self.handlers
            or namespace in self.namespace_handlers
            or self.namespaces == "*"
            or namespace in self.namespaces
        )
        if not known:
            return "Invalid namespace"
        if len(peer.members) + len(peer.entering or ()) >= self.limits.namespaces:
            return "Too many namespaces"
        return None

    async def _ask(self, member: Member, auth: Any) -> dict[str, Any] | None:
        """Let the connect handler decide; returns why not, None for yes."""
        args = (member.sid, member.peer.environ, auth)
        try:
            if await self._trigger_event("connect", member.namespace, *args) is not False:
                return None
        except Exception as error:  # noqa: BLE001 - the border of a task
            return self._reason(error, member.sid)
        return SioConnectionRefusedError().error_args  # type: ignore[no-any-return]

    def _reason(self, error: Exception, client: str) -> dict[str, Any]:
        """Return what a client is told that was not let in because of an error."""
        if isinstance(error, ConnectionRefusedError):
            error = SioConnectionRefusedError(*error.args)
        if isinstance(error, SioConnectionRefusedError):
            reason: dict[str, Any] = error.error_args
            return reason
        self._log_failure("connect", client)
        return {"message": "Internal server error"}

    async def _admitted(self, peer: Peer, namespace: str, auth: Any) -> bool:
        """Ask whether a client may enter at all, before any session of its is touched."""
        if self._admit is None:
            return True
        try:
            peer.admitted = await self._admit(peer.connection, peer.environ, auth)
        except Exception as error:  # noqa: BLE001 - the border of a task
            self._refuse(peer, namespace, self._reason(error, peer.connection.id))
            return False
        return peer.connection.open

    async def _identify(self, peer: Peer, namespace: str, auth: Any) -> tuple[str, str]:
        """Return the id of the session to begin or go on with, and its private one."""
        if self._recovery is None or namespace != "/":
            return self.eio.generate_id(), ""
        claimed = claim(auth)
        if claimed is not None:
            sid = await self._recover(self._recovery, peer, *claimed)
            if sid is not None:
                return sid, claimed[0]
        sid = self.eio.generate_id()
        return sid, self._recovery.open(sid)

    async def _recover(
        self, recovery: SessionRecovery, peer: Peer, pid: str, offset: str
    ) -> str | None:
        try:
            sid = await recovery.recover(peer.connection, pid, offset)
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure("recovery", peer.connection.id)
            return None
        # One id never stands for two clients at once.
        return None if sid is None or self.manager.member(sid, "/") is not None else sid

    def _accept(self, member: Member, pid: str) -> None:
        member.state = CONNECTED
        if member.peer.left is not None:
            member.peer.left.discard(member.namespace)
        self.metrics.connects += 1
        member.peer.connection.accepted()
        session = {"sid": member.sid, "pid": pid} if pid else {"sid": member.sid}
        self._reply(member.peer, packets.CONNECT, member.namespace, session)
        gather(member.peer.connection, _GREETING_SECONDS)
        early, member.early = member.early, None
        if early is not None:
            send_all(member.peer.connection, early)

    async def _turn_away(self, member: Member, error: dict[str, Any]) -> None:
        if member.state == CONNECTING:
            self._refuse(member.peer, member.namespace, error)
        elif member.state == CONNECTED:
            self._reply(member.peer, packets.DISCONNECT, member.namespace, error)
        await self._forget(member)

    def _refuse(self, peer: Peer, namespace: str, error: dict[str, Any]) -> None:
        self.metrics.connects_refused += 1
        try:
            self._reply(peer, packets.CONNECT_ERROR, namespace, error)
        except EncodeError:
            self._log_failure("connect", peer.connection.id)
            self._reply(peer, packets.CONNECT_ERROR, namespace, {"message": "Refused"})

    async def _leave(self, member: Member, reason: str) -> None:
        try:
            await self._trigger_event("disconnect", member.namespace, member.sid, reason)
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure("disconnect", member.sid)
        finally:
            await self._forget(member)

    async def _forget(self, member: Member) -> None:
        await self.manager.disconnect(member.sid, member.namespace, ignore_queue=True)
        member.gone()

    async def _run_event(self, member: Member, number: int | None, data: list[Any]) -> None:
        event = str(data[0])
        try:
            result = await self._trigger_event(event, member.namespace, member.sid, *data[1:])
            if result is self.not_handled or number is None:
                return
            answer = list(result) if isinstance(result, tuple) else [result]
            answer = [] if result is None else answer
            self._reply(member.peer, packets.ACK, member.namespace, answer, number)
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure(event, member.sid)

    async def _run_callback(self, member: Member, number: int, data: list[Any]) -> None:
        try:
            await self.manager.trigger_callback(member.sid, number, data)
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure("acknowledgement", member.sid)
