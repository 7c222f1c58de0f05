"""The metrics of a node that is one of many, each with where it is read (docs/operations.md)."""

from stockstream.gateway.exposition import Exposition
from stockstream.gateway.shared_news import SharedNews
from stockstream.gateway.shared_rooms import SharedRooms
from stockstream.gateway.shared_sessions import SharedSessions
from stockstream.services.clustered import ClusteredStreaming


def describe_cluster(
    page: Exposition,
    streaming: ClusteredStreaming,
    sessions: SharedSessions,
    news: SharedNews,
    rooms: SharedRooms,
) -> None:
    """Show what this node owns, hears and commits, and what it shares with others."""
    _describe_membership(page, streaming)
    _describe_commits(page, streaming)
    _describe_hearing(page, streaming)
    _describe_rooms(page, rooms)
    page.counter(
        "sessions_saved",
        "Sessions saved for other nodes, refused because another node has them, given up.",
        lambda: {"saved": sessions.saved, "refused": sessions.refused, "shed": sessions.shed},
        label="outcome",
    )
    page.gauge("sessions_unsaved", "Sessions that are to be saved.", lambda: sessions.unsaved)
    page.counter("sessions_taken", "Clients that went on to another node.", lambda: sessions.taken)
    page.counter(
        "document_news",
        "Changes of documents passed on to other nodes, heard of them, given up, not understood.",
        lambda: {
            "sent": news.sent,
            "heard": news.heard,
            "shed": news.shed,
            "undecodable": news.undecodable,
        },
        label="outcome",
    )


def _describe_membership(page: Exposition, streaming: ClusteredStreaming) -> None:
    membership, owned, demand = streaming.membership, streaming.owned, streaming.demand
    page.gauge(
        "cluster_nodes",
        "Nodes that this one knows, itself included.",
        lambda: len(membership.nodes),
    )
    page.gauge(
        "cluster_partitions_owned",
        "Partitions of symbols that this node owns, of 64.",
        lambda: len(membership.tokens),
    )
    page.gauge(
        "cluster_isolated",
        "1 while Redis has been out of reach for longer than a lease lives.",
        lambda: float(membership.isolated),
    )
    page.gauge(
        "cluster_alone",
        "1 while this node numbers updates by itself, for its own clients.",
        lambda: float(owned.alone),
    )
    page.counter(
        "cluster_handovers",
        "Partitions that came to this node, and that left it.",
        lambda: {"acquired": owned.acquisitions, "lost": owned.released},
        label="direction",
    )
    page.counter(
        "cluster_renewal_failures",
        "Renewals of leases that Redis did not answer in time.",
        lambda: membership.failures,
    )
    page.gauge(
        "cluster_symbols_produced",
        "Symbols that this node streams for all.",
        lambda: len(streaming.producer.streams),
    )
    page.counter(
        "cluster_demand_repairs",
        "Times that a node's demand was not what it had to be, and was read again.",
        lambda: demand.repairs,
    )


def _describe_commits(page: Exposition, streaming: ClusteredStreaming) -> None:
    committer = streaming.committer
    page.counter(
        "commits",
        "Steps in which updates were numbered, stored and published.",
        lambda: {
            "committed": committer.commits,
            "failed": committer.failures,
            "refused": committer.stale,
        },
        label="outcome",
    )
    page.counter(
        "commit_changes",
        "Price changes: became updates, turned out unchanged, given up, or another node went on.",
        lambda: {
            "updates": committer.updates,
            "unchanged": committer.unchanged,
            "shed": committer.shed,
            "dropped": committer.dropped,
            "superseded": committer.superseded,
        },
        label="outcome",
    )
    page.gauge("commits_pending", "Price changes that wait.", lambda: committer.pending)
    page.latency(
        "commit_latency_seconds",
        "From the receipt of a quote to its being committed.",
        lambda: committer.latency,
    )


def _describe_hearing(page: Exposition, streaming: ClusteredStreaming) -> None:
    bus, hearing = streaming.quotes_bus, streaming.hearing
    page.gauge("quote_bus_hearing", "1 while the canary is heard.", lambda: float(bus.hearing))
    page.gauge("quote_bus_symbols", "Symbols that are listened to.", lambda: bus.watched)
    page.counter(
        "quote_bus_losses",
        "Connections lost, or replaced because they were deaf.",
        lambda: bus.losses,
    )
    page.counter("quote_bus_messages", "Messages with updates.", lambda: bus.messages)
    page.counter("quote_bus_updates", "Updates in them.", lambda: hearing.heard)
    page.counter(
        "quote_bus_undecodable",
        "Messages or updates that are none of ours.",
        lambda: bus.undecodable + hearing.undecodable,
    )
    page.counter(
        "quote_bus_caught_up", "Updates read from the log after a loss.", lambda: bus.caught_up
    )
    page.counter(
        "quote_bus_gaps",
        "Symbols that began anew with a snapshot because what was missed could not be told.",
        lambda: bus.gaps,
    )


def _describe_rooms(page: Exposition, rooms: SharedRooms) -> None:
    page.counter(
        "rooms_messages",
        "Emits and changes of rooms: told to other nodes, heard, given up, none of ours.",
        lambda: {
            "told": rooms.told,
            "heard": rooms.heard,
            "shed": rooms.shed,
            "undecodable": rooms.undecodable,
        },
        label="outcome",
    )
    page.gauge("rooms_pending", "Emits that wait to be told.", lambda: rooms.pending)
