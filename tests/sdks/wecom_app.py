"""wechatpy as a self-built application of WeCom: verifies its address, decrypts callbacks, sends messages."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from wechatpy import WeChatClientException
from wechatpy.enterprise import WeChatClient, parse_message
from wechatpy.enterprise.crypto import WeChatCrypto

application = json.loads(os.environ["SIMULATOR"])
keys, api = application["credentials"], application["endpoints"]["apiBase"]
crypto = WeChatCrypto(keys["token"], keys["encodingAesKey"], keys["corpId"])


def client(secret):
    made = WeChatClient(keys["corpId"], secret)
    made.API_BASE_URL = f"{api}/cgi-bin/"
    # The client requests tokens from a fixed address.
    fetch = made._http.get
    made._http.get = lambda url, **options: fetch(url.replace("https://qyapi.weixin.qq.com", api), **options)
    return made


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except WeChatClientException as error:
        assert error.errcode == code, error
        return
    raise AssertionError(f"not refused with {code}")


refused(40001, client("wrong").fetch_access_token)
sender = client(keys["secret"])


def answer(message):
    agent = int(message.agent)
    refused(81013, sender.message.send_text, agent, "wangwu", "not for this member")
    sender.message.send_markdown(agent, message.source, f"你说：{message.content}")


class Callbacks(BaseHTTPRequestHandler):
    def sealed(self):
        query = dict(parse_qsl(urlsplit(self.path).query))
        return query, (query["msg_signature"], query["timestamp"], query["nonce"])

    def say(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        query, proof = self.sealed()
        echo = crypto.check_signature(*proof, query["echostr"])
        self.say(echo if isinstance(echo, bytes) else echo.encode())

    def do_POST(self):
        _, proof = self.sealed()
        body = self.rfile.read(int(self.headers["content-length"]))
        message = parse_message(crypto.decrypt_message(body, *proof))
        self.say(b"")
        threading.Thread(target=answer, args=(message,)).start()


address = urlsplit(os.environ["CALLBACK"])
ThreadingHTTPServer((address.hostname, address.port), Callbacks).serve_forever()
