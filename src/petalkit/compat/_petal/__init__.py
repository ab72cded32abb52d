"""A petal of the guide while it is served.

    exchange   one command in its hands: the first real answer counts
    shelf      proxies that factories make: started, tried again, stopped
    together   the loop, and the proxies in it, that several petals share
    supplies   what the user supplies of proxies
    proxies    what `self._proxies` gives
    routes     which petal a command belongs to
    desk       where its handlers, exchanges and messages meet the runtime
    asking     giving it a command, and awaiting the answer
    proxy      `MQTTProxy`
    hooks      its hooks, in the host's order
    adapter    all of it as a petal of petalkit

Begin with `adapter`.
"""
