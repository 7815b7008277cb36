import asyncio
import socket

from geodesic.experiments.serving import listening


def test_small_answers_are_not_kept_back():
    async def option() -> int:
        seen = asyncio.get_running_loop().create_future()
        with listening.opened("127.0.0.1", 0) as listener:
            server = await asyncio.start_server(
                lambda reader, writer: seen.set_result(writer.get_extra_info("socket")), sock=listener)
            async with server:
                _, writer = await asyncio.open_connection(*listener.getsockname())
                taken = (await seen).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                writer.close()
                return taken

    assert asyncio.run(option())
