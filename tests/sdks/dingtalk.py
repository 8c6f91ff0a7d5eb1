"""DingTalk's own client for Python: connects, receives a message, answers it."""

import os

os.environ["DINGTALK_OPENAPI_ENDPOINT"] = os.environ["SIMULATOR"]

import dingtalk_stream  # noqa: E402  The address is read when it is loaded.


class Echo(dingtalk_stream.ChatbotHandler):
    async def process(self, callback):
        message = dingtalk_stream.ChatbotMessage.from_dict(callback.data)
        self.reply_text(f"你说：{message.text.content.strip()}", message)
        return dingtalk_stream.AckMessage.STATUS_OK, "OK"


credential = dingtalk_stream.Credential("cli_a1b2c3d4e5f60718", "secret-of-the-simulation")
client = dingtalk_stream.DingTalkStreamClient(credential)
client.register_callback_handler(dingtalk_stream.ChatbotMessage.TOPIC, Echo())
client.start_forever()
