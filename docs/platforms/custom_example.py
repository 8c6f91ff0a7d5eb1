"""A chat platform in a terminal: each line that is typed is a message, and the bot's replies are printed.

    CALLBACK_URL=... SECRET=whsec_... python3 custom_example.py          # replies are polled
    CALLBACK_URL=... SECRET=whsec_... PORT=9000 python3 custom_example.py    # replies are posted to sendUrl, http://...:9000/
"""
import base64, hashlib, hmac, json, os, sys, threading, time, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

CALLBACK_URL, SECRET, PORT = os.environ["CALLBACK_URL"], os.environ["SECRET"], os.environ.get("PORT")
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))


def sign(id, timestamp, body):
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()


def post(event):
    body, id, now = json.dumps(event).encode(), f"msg_{uuid.uuid4()}", str(int(time.time()))
    headers = {"content-type": "application/json", "webhook-id": id, "webhook-timestamp": now,
               "webhook-signature": sign(id, now, body)}
    with urlopen(Request(CALLBACK_URL, body, headers), timeout=60) as answer:
        return json.load(answer)


def poll(reply_id):
    state = {"done": False, "version": 0}
    while not state["done"]:
        state = post({"type": "poll", "replyId": reply_id, "after": state["version"]})
    return state


def show(state):
    print("bot:", state["text"], *[file["url"] for file in state["files"]], flush=True)


class Replies(BaseHTTPRequestHandler):
    shown = {}  # The newest version of each reply: a snapshot may come twice, or after a newer one.

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        id, sent_at = self.headers["webhook-id"] or "", self.headers["webhook-timestamp"] or "0"
        given = (self.headers["webhook-signature"] or "").split(" ")
        genuine = any(hmac.compare_digest(sign(id, sent_at, body), one) for one in given)
        if not genuine or abs(time.time() - int(sent_at)) > 300:
            return self.send_error(401)
        reply = json.loads(body)
        is_news = reply["version"] > self.shown.get(reply["replyId"], 0)
        self.shown[reply["replyId"]] = max(reply["version"], self.shown.get(reply["replyId"], 0))
        if is_news and reply["done"]:
            show(reply)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


if PORT:
    server = ThreadingHTTPServer(("127.0.0.1", int(PORT)), Replies)
    threading.Thread(target=server.serve_forever, daemon=True).start()
for line in sys.stdin:
    message = {"version": 1, "id": str(uuid.uuid4()), "text": line.rstrip("\n"),
               "chat": {"id": "terminal", "kind": "direct"}, "sender": {"id": "me", "name": "Me"}}
    accepted = post(message)
    if not accepted["accepted"]:
        print("refused:", accepted, flush=True)
    elif not PORT:
        show(poll(accepted["replyId"]))
