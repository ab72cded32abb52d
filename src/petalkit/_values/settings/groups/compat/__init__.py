"""What is for petals written for the guide alone.

    http   their HTTP and WebSocket endpoints

Begin with `http`.
"""
