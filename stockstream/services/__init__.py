"""The use cases: what the house does, with neither HTTP nor Socket.IO."""
