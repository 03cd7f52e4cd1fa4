"""A TCP line to a server that can be cut and mended: what an API server that is away looks like from a client."""

from __future__ import annotations

import asyncio
import contextlib


class FaultyLine:
    """Passes bytes between clients and one server, while it is whole."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._whole = True
        self.port = 0

    async def __aenter__(self) -> FaultyLine:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        """All connections break, and no new one works."""
        self._whole = False
        for pump in self._pumps:
            pump.cancel()

    def mend(self) -> None:
        """New connections work again."""
        self._whole = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            there, back = await asyncio.open_connection(*self._target)
            try:
                await asyncio.wait(
                    [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                back.close()
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            self._pumps.discard(task)
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
