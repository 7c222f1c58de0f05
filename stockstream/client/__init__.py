"""What a Python program uses to listen to a server; nothing here needs the server's code."""
