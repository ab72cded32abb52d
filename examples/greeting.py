"""A petal with one command: the shortest one that is complete.

    petalkit run examples/greeting.py --organization-id acme --device-id Instance-1
    petalkit call example-petal/hello '{"name": "Developer"}' \
        --organization-id acme --device-id Instance-1

Both use mqtt://localhost:1883 unless you say `--broker`.
"""

import attrs

from petalkit import Petal, command


@attrs.frozen
class Greeting:
    name: str = "World"


class ExamplePetal(Petal):
    name = "example-petal"
    version = "1.0.0"

    @command("hello")  # served as example-petal/hello
    async def hello(self, data: Greeting):
        """Greet somebody."""
        return {"message": f"Hello, {data.name}!"}
