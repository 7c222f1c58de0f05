"""The one place where everything is put together."""

import asyncio
import secrets
from collections.abc import Coroutine, Mapping
from random import Random
from typing import Any, Final

import structlog
from aiohttp import web

from stockstream.clustering import Clustering
from stockstream.config import Settings
from stockstream.core.subscriptions import Subscriptions
from stockstream.engine import AppRunner, AsyncServer, TrustedProxies
from stockstream.errors import StoreUnavailableError
from stockstream.gateway import measurements
from stockstream.gateway.authentication import open_authenticator
from stockstream.gateway.client import Client
from stockstream.gateway.cluster_measurements import describe_cluster
from stockstream.gateway.documents import Documents
from stockstream.gateway.expiry import Expiry
from stockstream.gateway.exposition import Exposition
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.history_measurements import describe_bars, describe_history
from stockstream.gateway.http import Dependency, HttpDoor, errors_as_json
from stockstream.gateway.http_identity import identified
from stockstream.gateway.keys import RemoteKeys
from stockstream.gateway.lost_sessions import SessionsInMemory
from stockstream.gateway.readiness import Readiness
from stockstream.gateway.recovery import Recovery
from stockstream.gateway.requests import Requests
from stockstream.gateway.rest import RestDoor
from stockstream.gateway.servers import PATHS, open_server
from stockstream.gateway.sessions import Sessions
from stockstream.gateway.sockets import SocketGateway
from stockstream.gateway.sse import SseDoor
from stockstream.gateway.web import WebDoor
from stockstream.model.event import Event
from stockstream.model.topics import PERFORMANCE_ALERT
from stockstream.ports import Clock, QuoteStore
from stockstream.providers import open_provider
from stockstream.services.bar_updates import BarUpdates
from stockstream.services.bars import BarService
from stockstream.services.contract import Streaming
from stockstream.services.deriving import BarsOfOthers, Derivations
from stockstream.services.event_bus import EventBus
from stockstream.services.lookups import Lookups
from stockstream.services.monitoring import PerformanceMonitor
from stockstream.services.streaming import StreamingService
from stockstream.storage.memory import MemoryQuoteStore
from stockstream.storage.reference_file import load_reference
from stockstream.storage.writer import WriteBehind
from stockstream.wire import names
from stockstream.wire.packets import WireForm
from stockstream.wire.replies import BarUpdate
from stockstream.wiring import (
    auth_settings,
    document_settings,
    open_history,
    provider_settings,
    server_settings,
    streaming_settings,
    thresholds,
    web_settings,
)

log = structlog.get_logger(__name__)

#: Clients a second that are sent to other nodes when this one ends, and the part of the time for
#: draining that may be spent on it.
_MOVED_PER_SECOND: Final = 200
_SPREAD: Final = 0.4


class Node:
    """One running server: its parts, put together but not yet listening."""

    def __init__(self, settings: Settings, clock: Clock, random: Random) -> None:
        self.settings = settings
        self.authenticator = open_authenticator(auth_settings(settings), clock)
        self.expiry = Expiry(clock, self.authenticator.rules.leeway_ms)
        self.bus = EventBus(clock=clock, random=random)
        self.provider = open_provider(provider_settings(settings), clock)
        self.cluster = (
            Clustering(settings.redis_url, settings, clock, random, self._drop)
            if settings.redis_url
            else None
        )
        self.store: QuoteStore = self.cluster.store if self.cluster else MemoryQuoteStore(clock)
        self.writer = WriteBehind(self.store, clock=clock, random=random)
        # No other process has this order: a mark of theirs must not be taken for one of ours.
        recovers = bool(settings.recovery_window) and self.cluster is None
        self.fanout = Fanout(clock, order=secrets.token_hex(4) if recovers else "")
        self.derived = Derivations(settings.derived, self.fanout)
        bars = self.provider.bars
        self.history = open_history(settings, clock, random)
        self.bars = BarService(
            bars and BarsOfOthers(bars, self.derived), clock, history=self.history
        )
        self.streaming = self._open_streaming(clock, random)
        subscriptions: Subscriptions[Client] = Subscriptions(
            max_clients=settings.max_subscriptions,
            max_events=settings.max_subscriptions_per_client,
        )
        share = self.cluster.share_news if self.cluster else None
        self.documents = Documents(document_settings(settings), clock, share)
        self.bar_updates = BarUpdates(self.bars, clock, self.send_bar)
        self.requests = Requests(
            subscriptions=subscriptions,
            streaming=self.streaming,
            bars=self.bars,
            bar_updates=self.bar_updates,
            fanout=self.fanout,
            news=self.documents.news,
            clock=clock,
        )
        self.recovery = Recovery(
            secret=secrets.token_bytes(32) if recovers else b"",
            lost=self.cluster.sessions
            if self.cluster
            else SessionsInMemory(settings.recovery_window, clock),
            shared=self.cluster is not None,
            requests=self.requests,
            streaming=self.streaming,
            fanout=self.fanout,
            clock=clock,
        )
        if self.cluster:
            self.cluster.share_order(self.fanout, self.recovery)
        self.gateway = SocketGateway(
            requests=self.requests,
            subscriptions=subscriptions,
            streaming=self.streaming,
            fanout=self.fanout,
            recovery=self.recovery,
            sessions=Sessions(self.authenticator, self.expiry, self.requests),
            sync=self.documents.door,
            clock=clock,
        )
        self.servers: dict[WireForm, AsyncServer] = {
            form: open_server(
                form,
                server_settings(settings),
                self.gateway,
                self.recovery,
                self.cluster.rooms if self.cluster else None,
            )
            for form in PATHS
        }
        self.monitor = PerformanceMonitor(
            self.bus,
            clock,
            node=settings.node_id,
            sources=[self.gateway],
            thresholds=thresholds(settings),
            interval=settings.metrics_interval,
            redis_gone_for=self.cluster.redis_gone_for if self.cluster else None,
            history_shed=lambda: self.history.writer.shed,
        )
        self.readiness = Readiness(
            streaming=self.streaming,
            stored=self.cluster.dependencies if self.cluster else self._stored,
            keys=self.authenticator.keys,
            documents=self.documents.store,
            history=self.history,
        )
        self.lookups = Lookups(self.streaming, self.store)
        self.streams = SseDoor(
            beside=self.gateway,
            server=self.servers[WireForm.JSON],
            heartbeat=settings.ping_interval,
            requests=self.requests,
            recovery=self.recovery,
            fanout=self.fanout,
            clock=clock,
            random=random,
        )
        self._metrics = Exposition()
        self.web = self._open_web(clock)
        self._describe(self._metrics)

    def web_app(self) -> web.Application:
        """Return all routes as one application."""
        who = identified(
            self.authenticator,
            TrustedProxies(self.settings.trusted_proxies).address_of,
            self.web.router.routes,
            [f"/{path}/" for path in PATHS.values()],
        )
        app = web.Application(
            middlewares=[errors_as_json, who], client_max_size=self.settings.max_payload_bytes
        )
        for form, server in self.servers.items():
            server.attach(app, PATHS[form])
        self.web.attach(app)
        return app

    def _open_streaming(self, clock: Clock, random: Random) -> Streaming:
        settings = self.settings
        sink = self.derived if settings.derived else self.fanout
        reference = {**load_reference(settings.reference_file), **settings.reference}
        if self.cluster:
            return self.cluster.open_streaming(
                provider=self.provider,
                sink=sink,
                bus=self.bus,
                bars=self.bars,
                derived=self.derived,
                reference=reference,
            )
        return StreamingService(
            provider=self.provider,
            store=self.store,
            recorder=self.writer,
            sink=sink,
            bus=self.bus,
            bars=self.bars,
            derived=self.derived,
            reference=reference,
            clock=clock,
            random=random,
            settings=streaming_settings(settings),
        )

    async def _stored(self) -> list[Dependency]:
        try:
            await self.store.ping()
        except StoreUnavailableError as error:
            return [Dependency(name="memory", ready=False, state=str(error), required=False)]
        return [Dependency(name="memory", ready=True, state="answering", required=False)]

    async def _drop(self, sid: str) -> None:
        for server in self.servers.values():
            await server.drop(sid)

    def _open_web(self, clock: Clock) -> WebDoor:
        state = HttpDoor(
            dependencies=self.readiness.check,
            statistics=self.statistics,
            client_info=self.gateway.get_client_info,
            metrics=self._metrics.page,
            metrics_public=self.settings.metrics_public,
        )
        rest = RestDoor(
            streaming=self.streaming,
            bars=self.bars,
            lookups=self.lookups,
            clock=clock,
        )
        return WebDoor(
            [rest, self.streams, self.documents.door, state], web_settings(self.settings), clock
        )

    def runner(self) -> AppRunner:
        """Return what serves all routes on the sites that it is given."""
        return AppRunner(
            self.web_app(),
            self.servers.values(),
            access_log=None,
            keepalive_timeout=self.settings.header_timeout,
        )

    def statistics(self) -> Mapping[str, Any]:
        """Return the documented statistics of all parts (sections 3.2, 4.1 and 7.1)."""
        return {
            "nodeId": self.settings.node_id,
            "connectedClients": self.gateway.get_connected_clients_count(),
            "subscriptions": self.gateway.get_subscription_stats(),
            "activeSubscriptions": self.streaming.get_active_subscriptions(),
            "streaming": self.streaming.get_streaming_status(),
            "metrics": self.monitor.current_metrics(),
            "averageMetrics": self.monitor.average_metrics(),
            "alerts": self.monitor.firing_alerts,
        }

    def tell_subscribers(self, event: Event[Any]) -> None:
        """Bring the monitor's measurements and alerts to the clients that want them."""
        if event.type == PERFORMANCE_ALERT.name:
            self.fanout.broadcast(names.PERFORMANCE_ALERT, event.data, keep=True)
        else:
            self.fanout.broadcast(names.PERFORMANCE_METRICS, event.data)

    def send_bar(self, event: str, bar: BarUpdate) -> None:
        """Bring a bar to the clients that want it; one that has ended is never left out."""
        self.fanout.broadcast(event, bar, keep=bar.closed)

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs as long as the node does."""
        jobs = [self.streaming.run(), self.fanout.run(), self.bar_updates.run(), self.expiry.run()]
        jobs += [self.documents.sync.run(), self.history.run()]
        if isinstance(self.authenticator.keys, RemoteKeys):
            jobs.append(self.authenticator.keys.run())
        if self.cluster:
            jobs += self.cluster.jobs()
        return jobs

    async def tell_clients(self) -> None:
        """End every session: clients are told, and come back to another node or later.

        Where there are other nodes, they are told one after the other: all at once would be too
        many for those.
        """
        spread = _SPREAD * self.settings.shutdown_timeout if self.cluster else 0.0
        spread = min(spread, self.gateway.connection_count / _MOVED_PER_SECOND)
        servers = self.servers.values()
        await asyncio.gather(
            self.streams.shutdown(), *(server.shutdown(spread=spread) for server in servers)
        )

    def _describe(self, page: Exposition) -> None:
        measurements.describe_gateway(page, self.gateway, self.fanout)
        measurements.describe_identities(page, self.authenticator, self.expiry)
        measurements.describe_streaming(page, self.streaming)
        measurements.describe_derived(page, self.derived)
        measurements.describe_bus(page, self.bus)
        describe_bars(page, self.bars)
        describe_history(page, self.history)
        if not self.cluster:
            measurements.describe_writer(page, self.writer)
        measurements.describe_store(page, self.store)
        measurements.describe_engine(page, list(self.servers.values()))
        measurements.describe_monitor(page, self.monitor)
        measurements.describe_web(page, self.web)
        measurements.describe_documents(page, self.documents.sync, self.documents.news)
        if self.cluster:
            cluster = self.cluster
            shared = (cluster.sessions, cluster.news, cluster.rooms)
            describe_cluster(page, cluster.streaming, *shared)
