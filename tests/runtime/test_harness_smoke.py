import attrs, trio, pytest
from petalkit import Petal, command
from petalkit.testing import open_harness

@attrs.frozen
class Greeting:
    name: str = "World"

class ExamplePetal(Petal):
    name = "example-petal"
    @command("hello")
    async def hello(self, data: Greeting):
        return {"message": f"Hello, {data.name}!"}

@pytest.mark.trio
async def test_a(autojump_clock):
    async with open_harness(ExamplePetal()) as h:
        r = await h.call("example-petal/hello", {"name":"D"})
        assert r["message"] == "Hello, D!"
        h.drop_link()
        await h.wait_connected()
        r = await h.call("example-petal/hello", {"name":"D"})
        await h.set_organization("other")
        await h.wait_connected()
        r = await h.call("example-petal/hello", {"name":"D"})
        assert r.success

@pytest.mark.trio
async def test_b(autojump_clock, petal_harness):
    h = await petal_harness(ExamplePetal())
    r = await h.call("example-petal/hello", {"name":"D"})
    assert r["message"] == "Hello, D!"
