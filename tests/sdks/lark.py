"""Lark's own client for Python: connects, receives a message in parts, answers it."""

import json
import os
import threading

import lark_oapi as lark
from lark_oapi.api.im.v1 import ReplyMessageRequest, ReplyMessageRequestBody

DOMAIN = os.environ["SIMULATOR"]
KEYS = ("cli_a1b2c3d4e5f60718", "secret-of-the-simulation")
api = lark.Client.builder().app_id(KEYS[0]).app_secret(KEYS[1]).domain(DOMAIN).build()


def reply(message):
    text = json.loads(message.content)["text"].replace("@_user_1 ", "")
    content = json.dumps({"text": f"你说：{text}"})
    body = ReplyMessageRequestBody.builder().msg_type("text").content(content).uuid("u-1").build()
    request = ReplyMessageRequest.builder().message_id(message.message_id).request_body(body).build()
    answer = api.im.v1.message.reply(request)
    assert answer.success(), (answer.code, answer.msg)


def on_message(data):
    # The event is acknowledged when this handler returns, before the answer is complete.
    threading.Thread(target=reply, args=(data.event.message,)).start()


handler = lark.EventDispatcherHandler.builder("", "").register_p2_im_message_receive_v1(on_message).build()
lark.ws.Client(*KEYS, event_handler=handler, domain=DOMAIN).start()
