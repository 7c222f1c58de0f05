"""python-socketio on this engine: strict packets, a cheap manager, the hardened server."""
