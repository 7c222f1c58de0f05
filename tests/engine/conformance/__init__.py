"""The Engine.IO and Socket.IO protocols on the wire, sentence by sentence."""
