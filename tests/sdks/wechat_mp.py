"""wechatpy, the most used client of Official Accounts for Python: decrypts callbacks, answers in their response and by a message."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from wechatpy import WeChatClient, WeChatClientException, create_reply, parse_message
from wechatpy.crypto import WeChatCrypto

account = json.loads(os.environ["SIMULATOR"])
keys, api = account["credentials"], account["endpoints"]["apiBase"]
crypto = WeChatCrypto(keys["token"], keys["encodingAesKey"], keys["appId"])


def client(secret):
    made = WeChatClient(keys["appId"], secret)
    made.API_BASE_URL = f"{api}/cgi-bin/"
    # The client requests tokens from a fixed address.
    fetch = made._http.get
    made._http.get = lambda url, **options: fetch(url.replace("https://api.weixin.qq.com", api), **options)
    return made


try:
    client("wrong").fetch_access_token()
    raise AssertionError("a wrong secret was accepted")
except WeChatClientException as refused:
    assert refused.errcode == 40125, refused
sender = client(keys["appSecret"])


class Callbacks(BaseHTTPRequestHandler):
    def do_POST(self):
        query = dict(parse_qsl(urlsplit(self.path).query))
        body = self.rfile.read(int(self.headers["content-length"]))
        message = parse_message(crypto.decrypt_message(body, query["msg_signature"], query["timestamp"], query["nonce"]))
        reply = create_reply(f"你说：{message.content}", message).render()
        sealed = crypto.encrypt_message(reply, query["nonce"], query["timestamp"]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(sealed)))
        self.end_headers()
        self.wfile.write(sealed)
        threading.Thread(target=sender.message.send_text, args=(message.source, "还有这个")).start()


address = urlsplit(os.environ["CALLBACK"])
ThreadingHTTPServer((address.hostname, address.port), Callbacks).serve_forever()
