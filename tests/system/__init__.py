"""The whole of it: real `petalkit run` processes, a real broker, and what is seen on the wire."""
