// DingTalk's own client for Node: connects, receives a message, answers it.
import axios from "axios";
import { DWClient, TOPIC_ROBOT } from "dingtalk-stream";

// The client's addresses are fixed, so requests are redirected to the simulator.
axios.interceptors.request.use((request) => {
  request.url = request.url.replace(/^https:\/\/(o?api)\.dingtalk\.com/, process.env.SIMULATOR);
  return request;
});
const client = new DWClient({ clientId: "cli_a1b2c3d4e5f60718", clientSecret: "secret-of-the-simulation" });
client.registerCallbackListener(TOPIC_ROBOT, async (frame) => {
  const message = JSON.parse(frame.data);
  const text = { msgtype: "text", text: { content: `你说：${message.text.content.trim()}` } };
  await axios.post(message.sessionWebhook, text);
  client.socketCallBackResponse(frame.headers.messageId, null);
});
client.connect();
