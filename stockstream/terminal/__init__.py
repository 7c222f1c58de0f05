"""What ``stockstream watch`` shows in a terminal."""
