"""The settings, as each part of a node takes them."""

from random import Random
from typing import Final

from stockstream.config import ProviderName, Settings
from stockstream.core.calendars import BY_SUFFIX
from stockstream.core.syncing import Quota
from stockstream.core.thresholds import Thresholds
from stockstream.core.tokens import TokenRules
from stockstream.engine import Limits
from stockstream.gateway.authentication import AuthSettings
from stockstream.gateway.documents import DocumentSettings
from stockstream.gateway.servers import ServerSettings
from stockstream.gateway.web import WebSettings
from stockstream.ports import Clock
from stockstream.providers import ProviderSettings
from stockstream.services.calendars import Calendars
from stockstream.services.keeping import History
from stockstream.services.streaming import StreamingSettings
from stockstream.services.sync import SyncSettings
from stockstream.setting_types import IN_MEMORY
from stockstream.storage.memory_history import MemoryHistory
from stockstream.storage.sessions import load_sessions
from stockstream.storage.sql.history import SqlHistory

#: Seconds for which Redis may be out of reach before an alert fires.
_REDIS_PATIENCE: Final = 2.0


def provider_settings(settings: Settings) -> ProviderSettings:
    """Return where quotes come from."""
    return ProviderSettings(
        name=settings.provider,
        update_interval=settings.update_interval,
        simulated_seed=settings.simulated_seed,
        simulated_change_probability=settings.simulated_change_probability,
        replay_file=settings.replay_file,
        replay_speed=settings.replay_speed,
        replay_loop=settings.replay_loop,
    )


def web_settings(settings: Settings) -> WebSettings:
    """Return who may ask over plain HTTP, and how often."""
    return WebSettings(
        cors_origins=settings.cors_origins,
        trusted_proxies=settings.trusted_proxies,
        requests_per_second=settings.max_requests_per_second,
        body_seconds=settings.body_timeout,
    )


def auth_settings(settings: Settings) -> AuthSettings:
    """Return how somebody says who he is."""
    secret = settings.jwt_secret
    return AuthSettings(
        required=settings.auth == "jwt",
        secret=secret.get_secret_value() if secret else None,
        key_file=settings.jwt_key_file,
        jwks_url=settings.jwt_jwks_url,
        rules=TokenRules(
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            leeway_ms=round(settings.jwt_leeway * 1000),
            roles_claim=settings.jwt_roles_claim,
        ),
    )


def streaming_settings(settings: Settings) -> StreamingSettings:
    """Return how prices are asked for."""
    return StreamingSettings(
        update_interval=settings.update_interval,
        batch_size=settings.batch_size,
        subscription_timeout=settings.subscription_timeout,
        max_symbols=settings.max_symbols,
    )


def server_settings(settings: Settings) -> ServerSettings:
    """Return how Socket.IO clients may connect."""
    return ServerSettings(
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        max_payload_bytes=settings.max_payload_bytes,
        cors_origins=settings.cors_origins,
        trusted_proxies=settings.trusted_proxies,
        websocket_compression=settings.websocket_compression,
        limits=Limits(
            connections=settings.max_connections,
            connections_per_address=settings.max_connections_per_address,
            handshakes_per_second=settings.max_handshakes_per_second,
            body_seconds=settings.body_timeout,
            header_seconds=settings.header_timeout,
            packets_per_payload=settings.max_packets_per_payload,
            inbound_messages_per_second=settings.max_messages_per_second,
            unread_bytes=settings.max_unread_bytes,
            slow_consumer_seconds=settings.slow_consumer_timeout,
            # As deep as Python decodes with ease: a payload of the wrong shape gets an error that
            # says so, and only what is deeper still costs the client its connection.
            nesting=600,
        ),
    )


def thresholds(settings: Settings) -> Thresholds:
    """Return what an alert fires above."""
    return Thresholds(
        max_latency_ms=settings.max_latency_ms,
        max_error_rate=settings.max_error_rate,
        max_memory_mb=settings.max_memory_mb,
        max_message_rate=settings.max_message_rate,
        max_redis_gap=_REDIS_PATIENCE if settings.redis_url else None,
    )


def open_history(settings: Settings, clock: Clock, random: Random) -> History:
    """Return where ticks and bars are kept; nothing is opened yet."""
    url = settings.history()
    return History(
        MemoryHistory() if url == IN_MEMORY else SqlHistory(url),
        Calendars(_calendars(settings), load_sessions),
        clock=clock,
        random=random,
        tick_days=settings.history_tick_days,
        minute_days=settings.history_minute_days,
    )


def _calendars(settings: Settings) -> dict[str, str]:
    if settings.calendars is not None:
        pairs = (text.rpartition("=") for text in settings.calendars)
        return {"" if suffix == "*" else suffix: calendar for suffix, _, calendar in pairs}
    # The simulated market never closes.
    return {} if settings.provider is ProviderName.SIMULATED else dict(BY_SUFFIX)


def document_settings(settings: Settings) -> DocumentSettings:
    """Return where documents are, and how they are kept."""
    pairs = (pair.split("=", 1) for pair in settings.sync_strategies)
    return DocumentSettings(
        database_url=settings.database(),
        versions=settings.sync_history,
        sync=SyncSettings(
            strategy=settings.sync_strategy,
            strategies=dict(pairs),
            quota=Quota(
                documents=settings.max_documents_per_user,
                size=settings.max_document_bytes_per_user,
            ),
            retention_days=settings.sync_retention_days,
        ),
        items_per_second=settings.max_syncs_per_second,
    )
