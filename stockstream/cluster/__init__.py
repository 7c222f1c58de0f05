"""Many nodes as one: who streams a symbol, one order for all updates, and the bus they travel on.

Everything that has to be decided together lives in one hash slot (``{q}``) of one Redis, so that
one Lua script makes each step atomic on a plain Redis, behind Sentinel, and in Redis Cluster alike.
No node's clock matters: whatever expires does so by the clock of Redis. What a node uses::

    link = open_link("redis://host/0")      # Sentinel and Redis Cluster: see address.py

    membership = Membership(link, node=node, role=Role.ALL, listener=listener, clock=clock)
    await membership.run()                  # a task: renews, acquires and releases partitions
    membership.token(partition)             # int while this node owns it, None otherwise
    membership.isolated                     # Redis was out of reach for longer than a lease lives
    await membership.leave()                # SIGTERM: hands everything over at once

    log = QuoteLog(link, node=node)
    results = await log.commit([Group(partition=…, token=…, symbols=[SymbolChanges(…)])])
    await log.state(symbol)                 # the current value
    await log.since(symbol, position)       # what followed (epoch, seq); None: can't be told
    await log.after(symbol, offset)         # what followed an offset; None: can't be told

    bus = QuoteBus(link, node=node, log=log, receiver=receiver, clock=clock, random=random)
    bus.watch(symbol); bus.unwatch(symbol)  # no waiting; a turn's worth goes out as one command
    bus.listen(link.channels.demand, demand.hear, demand.repair)
    bus.listen(link.channels.members, membership.wake, membership.wake)
    await bus.run()                         # a task: connects, resubscribes, catches up
    bus.hearing, bus.since                  # for /readyz: proved by a canary, and since when

    demand = SharedDemand(link, node=node, clock=clock, on_change=…)
    demand.want(symbol); demand.drop(symbol)          # what clients of this node want
    demand.wanted_by(symbol)                          # how many nodes want it
    await demand.run()                                # a task: tells others, repairs what was lost
    demand.members(nodes)                             # what the listener of members is told

An update's *offset* is its place in the one order of all updates: a number that only grows, also
when Redis lost its data or a replica took over (it is never below that Redis' clock in µs). It has
holes. Every node is given updates in that order, whatever their symbols, so a client's last offset
says what it has of all its symbols. The first thing that a node gets of a symbol is its state (a
*snapshot*, which is no part of that order), then each update once.

*epoch* and *seq* number a symbol's updates without holes. They go on when another node takes over;
a new epoch begins where the caller asks for it, or where Redis may have forgotten updates that it
had accepted (a replica took over that had not received them yet): numbers are never given twice.

A commit whose outcome is unknown is offered again as it was: each :class:`~.quote_log.Change` has
a serial, and happens once. Commits of one symbol must not overlap.

What Redis must allow: scripts with ``INFO``, keys under ``stockstream:`` and ``stock:``, channels
under ``stockstream:``, and no eviction of keys (``maxmemory-policy noeviction``).
"""
