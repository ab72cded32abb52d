"""`console`: a page in the browser that shows devices and calls them.

    outgoing      what waits to be sent to one page, with bounds
    asked         what a page may ask
    said          what a page is told
    device_view   one device, as one page sees it
    visits        one page, from its first message to its last
    bridge        the client, its directory of devices, and the pages
    guard         who may ask: Host, Origin, token
    files         the page's files, and what the browser is told to allow them
    server        all of it on a port of this machine
    opening       the address, printed, and opened in a browser without telling it to others
    command       `petalkit console`

The page itself is built from `web/` into `page/` (`scripts/page`). Begin with `bridge`.
"""
