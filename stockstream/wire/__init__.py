"""The client contract as code: names, payloads and bytes; nothing here knows a connection."""
