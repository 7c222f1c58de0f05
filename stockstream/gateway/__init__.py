"""The doors: Socket.IO and HTTP in, prices out."""
