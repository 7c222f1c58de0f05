"""Whether this node can serve, and what keeps it from doing so."""

from collections.abc import Awaitable, Callable, Sequence

from stockstream.core.circuit_breaker import CircuitState
from stockstream.document_ports import DocumentStore
from stockstream.errors import StoreUnavailableError
from stockstream.gateway.http import Dependency
from stockstream.gateway.keys import KeySource, RemoteKeys
from stockstream.services.contract import Streaming
from stockstream.services.keeping import History


class Readiness:
    """Looks at each thing that this node depends on.

    Neither a provider that is down nor a store or an identity provider that is gone makes a node
    unready: every other node would be in the same state, and clients keep what they have. They are
    named.
    """

    def __init__(
        self,
        *,
        streaming: Streaming,
        stored: Callable[[], Awaitable[Sequence[Dependency]]],
        keys: KeySource | None,
        documents: DocumentStore,
        history: History,
    ) -> None:
        """Begin ready.

        Args:
            streaming: asks the provider.
            stored: looks at where updates are kept, and at the way to other nodes.
            keys: where tokens are checked with; None: nowhere else.
            documents: where users' documents are kept.
            history: where ticks and bars are kept.
        """
        self._streaming = streaming
        self._stored = stored
        self._keys = keys
        self._documents = documents
        self._history = history
        #: Set when the node has begun to shut down.
        self.draining = False

    async def check(self) -> list[Dependency]:
        """Return the state of each dependency now."""
        found = [self._node(), self._provider(), *await self._stored(), await self._documented()]
        found.append(self._remembered())
        if isinstance(self._keys, RemoteKeys):
            found.append(_identities(self._keys))
        return found

    def _node(self) -> Dependency:
        state = "shutting down" if self.draining else "serving"
        return Dependency(name="node", ready=not self.draining, state=state)

    def _provider(self) -> Dependency:
        circuit = self._streaming.producer.circuit
        if circuit is not CircuitState.CLOSED:
            return Dependency(
                name="provider", ready=False, state=f"circuit {circuit}", required=False
            )
        if self._streaming.producer.feed_connected is False:
            return Dependency(name="provider", ready=False, state="disconnected", required=False)
        return Dependency(name="provider", ready=True, state="answering", required=False)

    def _remembered(self) -> Dependency:
        error = self._history.writer.state.error
        return Dependency(
            name="history", ready=error is None, state=error or "answering", required=False
        )

    async def _documented(self) -> Dependency:
        name = "documents"
        if not self._documents.opened:
            return Dependency(name=name, ready=True, state="not used yet", required=False)
        try:
            await self._documents.ping()
        except StoreUnavailableError as error:
            return Dependency(name=name, ready=False, state=str(error), required=False)
        return Dependency(name=name, ready=True, state="answering", required=False)


def _identities(keys: RemoteKeys) -> Dependency:
    state = keys.problem or "answering"
    return Dependency(name="identity_provider", ready=not keys.problem, state=state, required=False)
