"""WeCom's own client for Python: connects, receives a message, streams an answer."""

import asyncio
import os

import websockets
from aibot import WSClient, WSClientOptions, generate_req_id

connect = websockets.connect
# The client always uses TLS, which a simulator on the loopback address doesn't support.
websockets.connect = lambda url, ssl=None, **options: connect(url, **options)


async def main():
    client = WSClient(
        WSClientOptions(
            bot_id="cli_a1b2c3d4e5f60718",
            secret="secret-of-the-simulation",
            ws_url=os.environ["SIMULATOR"],
        )
    )

    async def answer(frame):
        text = frame["body"]["text"]["content"].replace("@Helper ", "")
        stream = generate_req_id("stream")
        await client.reply_stream(frame, stream, "<think></think>", False)
        await client.reply_stream(frame, stream, f"你说：{text}", True)

    client.on("message.text", answer)
    await client.connect()
    await asyncio.Event().wait()


asyncio.run(main())
